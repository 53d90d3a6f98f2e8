"""Where the label of a sample stands in a webdataset tar: in KEY.cls, in KEY.txt, or in a field of KEY.json."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alexnet_shards.errors import FormatError
from alexnet_shards.manifest import LABEL_SUFFIX, ClassFact
from alexnet_shards.parsing import Where, parse_json

LARGEST_LABEL = 2**31 - 1
MAX_LABEL_BYTES = 32  # of a class number
MAX_TEXT_BYTES = 4096
MAX_JSON_LABEL_BYTES = 1 << 20
JSON_SUFFIX = ".json"
SOURCE_FIELD = "label"  # in the `source` of a manifest, where labels stand elsewhere than in .cls


@dataclass(frozen=True)
class LabelPlace:
    """The suffix of the members that hold labels, and for .json the names that lead to the field."""

    suffix: str = LABEL_SUFFIX
    fields: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "LabelPlace":
        """From `cls`, `txt` or `json:FIELD` (`json:a.b` for field b of the object a); raises ValueError for the rest."""
        kind, colon, fields = text.strip().partition(":")
        if kind in ("cls", "txt") and not colon:
            return cls("." + kind)
        names = tuple(fields.split("."))
        if kind == "json" and all(names):
            return cls(JSON_SUFFIX, names)
        raise ValueError(f"{text!r}: expected cls, txt or json:FIELD (json:a.b for a field of an object)")

    def __str__(self) -> str:
        return self.suffix[1:] + (":" + ".".join(self.fields) if self.fields else "")

    @property
    def max_bytes(self) -> int:
        """How long a member may be that holds a label."""
        return MAX_JSON_LABEL_BYTES if self.fields else MAX_TEXT_BYTES

    def read(self, content: bytes, where: str) -> int | str | None:
        """The label in a member of the name `where`: a class number, a class name, or None for none (-1, null, nothing).

        Digits are a number. Raises FormatError for what can be neither.
        """
        value: Any = None
        if not self.fields:
            value = _text(content, where)
        else:
            value = parse_json(content, Where(path=Path(where), what="JSON", remedy="make the tar again"))
            for name in self.fields:
                value = value.get(name) if isinstance(value, dict) else None
        if isinstance(value, str):
            value = value.strip()
            digits = value.removeprefix("-")
            value = int(value) if digits.isascii() and digits.isdigit() and len(value) < MAX_LABEL_BYTES else value
        if value is None or value in ("", -1):
            return None
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise FormatError(f"{where}: the label is of type {type(value).__name__}; expected a class number or name")
        if isinstance(value, int) and not 0 <= value <= LARGEST_LABEL:
            raise FormatError(f"{where}: the label is {value}; expected a class number from 0 on")
        return value


@dataclass(frozen=True)
class LabelNumbers:
    """Labels of shards as numbers: where they stand, and the numbers of class names, where there is a class list.

    Unless `takes_names`, a label is a number in .cls and nothing else.
    """

    place: LabelPlace = field(default_factory=LabelPlace)
    number_of: Mapping[str, int] = field(default_factory=dict)
    takes_names: bool = False

    @property
    def max_bytes(self) -> int:
        """How long a member may be that holds a label."""
        return self.place.max_bytes if self.takes_names else MAX_LABEL_BYTES

    @classmethod
    def of(cls, source: Mapping[str, Any], classes: tuple[ClassFact, ...]) -> "LabelNumbers":
        """As a manifest says by its `source` and its classes; raises FormatError where it says nonsense."""
        text = source.get(SOURCE_FIELD)
        if text is None:
            return cls()
        try:
            return cls(LabelPlace.parse(str(text)), class_numbers(classes), takes_names=True)
        except ValueError as error:
            raise FormatError(f"the manifest's labels stand in {error}; make the index again") from error

    def read(self, content: bytes, where: str) -> int | None:
        """The number of a label, None where there is none; raises FormatError for a name that is no class."""
        if not self.takes_names:
            number = parse_label(content)
            if number is None:
                shown = repr(content[:40].decode("ascii", "backslashreplace"))
                raise FormatError(
                    f"{where}: the label is {shown}; expected a 0-based class number, make the shard again"
                )
            return number
        label = self.place.read(content, where)
        if isinstance(label, str):
            if label not in self.number_of:
                raise FormatError(
                    f"{where}: the label is {label[:40]!r}; expected a 0-based class number, or a name of the list that "
                    "--classes gives"
                )
            return self.number_of[label]
        return label


CLS = LabelNumbers()


def parse_label(text: bytes) -> int | None:
    """The label in the content of a .cls member, None where it is no number of 0 to 2^31 - 1."""
    digits = text.strip()
    if len(text) > MAX_LABEL_BYTES or not digits.isdigit() or int(digits) > LARGEST_LABEL:
        return None
    return int(digits)


def class_lines(text: str) -> tuple[ClassFact, ...]:
    """The classes of a list's text, `WNID words…` a line, whatever white space stands between; where every line has a tab,
    a name ends there and may have spaces. A byte order mark, as Windows' editors begin a file with one, is no part of the
    first name."""
    lines = [line for line in text.removeprefix("\ufeff").replace("\r", "\n").split("\n") if line.strip()]
    tab = "\t" if all("\t" in line.lstrip() for line in lines) else None
    parts = [[*line.lstrip().split(tab, maxsplit=1), ""] for line in lines]
    return tuple(ClassFact(wnid=wnid.strip(), words=words.strip()) for wnid, words, *_ in parts)


def class_numbers(classes: tuple[ClassFact, ...]) -> dict[str, int]:
    """Class numbers by name: a class's WNID, and its words where no other class has them too."""
    found = {fact.wnid: number for number, fact in enumerate(classes)}
    words = [fact.words for fact in classes]
    for number, fact in enumerate(classes):
        if fact.words and words.count(fact.words) == 1:
            found.setdefault(fact.words, number)
    return found


def _text(content: bytes, where: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"{where}: the label is no UTF-8; expected a class number or name") from error
