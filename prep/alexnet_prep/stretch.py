"""One stretch of a source, converted in the source's own order: its pictures in a file, and what became of each image."""

import base64
import hashlib
import json
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from alexnet_pixels import decoder_facts
from alexnet_prep.blocks import notes_content
from alexnet_prep.build import converted, over_the_limit
from alexnet_prep.identity import MAX_SAMPLED_BYTES
from alexnet_prep.job import AT_IMAGE, READING, BuildSetup, OnSign, Seconds
from alexnet_prep.sourcesizes import SOURCE_DTYPE
from alexnet_shards.errors import FormatError
from alexnet_shards.files import atomic_file, write_atomic
from alexnet_shards.parsing import Where, check_fields, field_types, load_json

# `image` is where an image's bytes begin in its archive, or its row in the index where that was known before; `digest` the
# sha256 of its bytes (zeros where nobody needs it); its picture lies at `place`, `length` bytes (0: there is none).
IMAGE_DTYPE = np.dtype(
    [("image", "<u8"), ("size", "<u4"), ("digest", "V32"), ("place", "<u8"), ("length", "<u4"), ("crc32", "<u4")]
)
MAX_SIZE = 2**32 - 1
NO_CONTAINER = 2**32 - 1  # of a stretch whose `image` are rows of the index


@dataclass(frozen=True, kw_only=True)
class SourceImage:
    """One image of a source in its own order: its position in the job, what IMAGE_DTYPE calls it, and its bytes."""

    position: int
    image: int
    size: int
    load: Callable[[], bytes]


@dataclass(frozen=True, kw_only=True)
class StretchFacts:
    """What a stretch holds; written after its pictures, it says that the stretch is done.

    `identity` is what its bytes depend on. `rows` are IMAGE_DTYPE rows, `sources` SOURCE_DTYPE of each; `reasons` and
    `kinds` those of single rows, `given_up` the rows not judged by their content.
    """

    number: int
    name: str
    identity: str
    container: int
    start: int
    bytes: int
    rows: str
    reasons: list[tuple[int, str]]
    kinds: list[tuple[int, list[str]]]
    given_up: list[int]
    is_noted: bool
    dropped: list[str] = field(default_factory=list)
    sources: str = ""

    def images(self) -> npt.NDArray[np.void]:
        """(N,) IMAGE_DTYPE."""
        return np.frombuffer(base64.b64decode(self.rows), IMAGE_DTYPE)

    def sizes(self) -> npt.NDArray[np.void]:
        """(N,) SOURCE_DTYPE, zeros for images without a picture, and for all where an older version wrote the facts."""
        count = len(self.images())
        found = (
            np.frombuffer(base64.b64decode(self.sources), SOURCE_DTYPE)
            if self.sources
            else np.zeros(count, SOURCE_DTYPE)
        )
        if len(found) != count:
            raise ValueError(f"sizes of {len(found)} sources, expected {count}")
        return found


FACT_TYPES = field_types(StretchFacts)


def stretch_name(number: int) -> str:
    """What a stretch is called."""
    return f"stretch-{number:05d}"


def pictures_path(setup: BuildSetup, name: str) -> Path:
    """Where a stretch's pictures lie, in the source's order."""
    return setup.sidecars / f"{name}.pictures"


def grouped_path(setup: BuildSetup, name: str) -> Path:
    """Where a stretch's pictures lie, in the shards' order."""
    return setup.sidecars / f"{name}.grouped"


def layout_path(setup: BuildSetup, name: str) -> Path:
    """Where it stands what a stretch's grouped file holds."""
    return setup.sidecars / f"{name}.layout"


def facts_path(setup: BuildSetup, name: str) -> Path:
    """Where the facts of a stretch lie."""
    return setup.sidecars / f"{name}.json"


def notes_path(setup: BuildSetup, name: str) -> Path:
    """Where a stretch keeps what a walk over its archive reads."""
    return setup.sidecars / f"{name}.blocks"


def save_checked(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON object with a checksum of itself, whole or not at all."""
    write_atomic(path, json.dumps({**content, "sha256": _digest(content)}).encode())


def load_checked(path: Path, what: str) -> dict[str, Any]:
    """The object that `save_checked` wrote; raises FileNotFoundError, and FormatError where its bytes are others."""
    where = Where(path=path, what=what, remedy="start again: it is made again")
    content = load_json(where)
    if not isinstance(content, dict) or content.pop("sha256", None) != _digest(content):
        raise where.wrong("its checksum")
    return content


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def finished_stretch(setup: BuildSetup, name: str, identity: str) -> StretchFacts | None:
    """The facts of a stretch that is there; None where it has to be made, as it has for images that were given up."""
    facts = written_stretch(setup, name, identity)
    return None if facts is None or facts.given_up else facts


def written_stretch(setup: BuildSetup, name: str, identity: str) -> StretchFacts | None:
    """The facts of a stretch that is there, also of one with images that were given up.

    Of its pictures only the length is looked at: each has a checksum, which is compared when it is read.
    """
    try:
        content = check_fields(StretchFacts, load_checked(facts_path(setup, name), "facts of a stretch"), FACT_TYPES)
        content["reasons"] = [(int(number), str(reason)) for number, reason in content["reasons"]]
        content["kinds"] = [(int(number), [str(kind) for kind in kinds]) for number, kinds in content["kinds"]]
        facts = StretchFacts(**content)
        facts.sizes()
        if facts.is_noted:
            notes_content(notes_path(setup, name))
    except (FileNotFoundError, FormatError, ValueError, KeyError, TypeError, zlib.error):
        return None
    is_there = _has_pictures(setup, facts) or is_grouped(setup, name)
    return facts if is_there and facts.identity == identity else None


def _has_pictures(setup: BuildSetup, facts: StretchFacts) -> bool:
    path = pictures_path(setup, facts.name)
    return path.is_file() and path.stat().st_size == facts.bytes


def is_grouped(setup: BuildSetup, name: str, layout: dict[str, Any] | None = None) -> bool:
    """Whether a stretch's pictures are there in the order of the shards; by `layout` where that is known."""
    try:
        found = load_checked(layout_path(setup, name), "layout of a stretch")
        size = grouped_path(setup, name).stat().st_size
    except (FileNotFoundError, FormatError):
        return False
    return size == found.get("bytes") and layout in (None, found)


class StretchBooks:
    """Writes a stretch's pictures and keeps the books of it."""

    def __init__(self, file: BinaryIO, setup: BuildSetup, quarantined: dict[int, str], on_sign: OnSign) -> None:
        self._file, self._setup, self._quarantined, self._on_sign = file, setup, quarantined, on_sign
        self.seconds = Seconds()
        self._rows: list[tuple[int, int, bytes, int, int, int]] = []
        self._reasons: list[tuple[int, str]] = []
        self._kinds: list[tuple[int, list[str]]] = []
        self._given_up: list[int] = []
        self._sources: list[tuple[int, int, int]] = []
        self._place = 0

    def take(self, image: SourceImage) -> None:
        """Read, convert and write one image."""
        number, jpeg, digest = len(self._rows), b"", bytes(32)
        self._sources.append((0, 0, 0))
        started = time.perf_counter()
        content = b""
        if image.size <= max(self._setup.max_member_bytes, MAX_SAMPLED_BYTES):
            self._on_sign(READING, image.position, 0)
            content = image.load()
        if content and image.size <= MAX_SAMPLED_BYTES:
            digest = hashlib.sha256(content).digest()
        self.seconds.stages["read"] += time.perf_counter() - started
        if image.position in self._quarantined:
            self._given_up.append(number)
            self._reasons.append((number, self._quarantined[image.position]))
        elif image.size > self._setup.max_member_bytes:
            self._reasons.append((number, over_the_limit(self._setup)))
        else:
            jpeg = self._convert(number, image, content)
        self._rows.append((image.image, image.size, digest, self._place, len(jpeg), zlib.crc32(jpeg)))
        self._file.write(jpeg)
        self._place += len(jpeg)

    def _convert(self, number: int, image: SourceImage, content: bytes) -> bytes:
        def begin(size: int) -> None:
            self._on_sign(AT_IMAGE, image.position, size)

        outcome = converted(content, self._setup, begin, self.seconds)
        if isinstance(outcome, str):
            self._reasons.append((number, outcome))
            return b""
        self._sources[number] = (outcome.width_px, outcome.height_px, outcome.source_bytes)
        if outcome.kinds:
            self._kinds.append((number, list(outcome.kinds)))
        return outcome.jpeg

    def facts(self, **known: Any) -> StretchFacts:
        """The facts of the stretch that was written."""
        rows = np.array(self._rows, IMAGE_DTYPE)
        return StretchFacts(
            **known,
            bytes=self._place,
            rows=base64.b64encode(rows.tobytes()).decode(),
            reasons=self._reasons,
            kinds=self._kinds,
            given_up=self._given_up,
            dropped=[reason for _, reason in self._reasons],
            sources=base64.b64encode(np.array(self._sources, SOURCE_DTYPE).tobytes()).decode(),
        )


def write_stretch(
    setup: BuildSetup, images: Iterator[SourceImage], quarantined: dict[int, str], on_sign: OnSign, **known: Any
) -> tuple[StretchFacts, Seconds]:
    """Convert `images` in their order, write their pictures and then the facts, of which `known` says the rest.

    Raises SourceError where the source has changed and OSError where the stretch cannot be written.
    """
    name = stretch_name(known["number"])
    grouped_path(setup, name).unlink(missing_ok=True)
    with atomic_file(pictures_path(setup, name)) as file:
        books = StretchBooks(file, setup, quarantined, on_sign)
        for image in images:
            books.take(image)
    facts = books.facts(name=name, **known)
    save_checked(facts_path(setup, name), asdict(facts))
    return facts, books.seconds


def identity_of(setup: BuildSetup, *more: object) -> str:
    """64 hex digits of what a stretch's bytes depend on: the recipe, the decoder, and `more`, its place in the source."""
    facts = (setup.recipe.as_dict(), setup.max_member_bytes, decoder_facts(), *more)
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=repr).encode()).hexdigest()
