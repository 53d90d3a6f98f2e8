"""Labels in webdataset tars: where they may stand, what they may be, and shards that are indexed by them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import webdataset

from alexnet_shards.adopt import LabelRules, index_shards, read_classes
from alexnet_shards.errors import FormatError
from alexnet_shards.labels import CLS, LabelNumbers, LabelPlace, class_lines, class_numbers
from alexnet_shards.manifest import ClassFact, load_manifest
from alexnet_shards.shardset import open_shards

NAMES = ["cat", "dog", "owl"]


def test_places_and_how_they_are_written() -> None:
    for text in ("cls", "txt", "json:label", "json:a.b"):
        assert str(LabelPlace.parse(text)) == text
    for text in ("", "json", "json:", "json:a..b", "cls:x", "xml"):
        with pytest.raises(ValueError, match="expected cls, txt or json:FIELD"):
            LabelPlace.parse(text)


@pytest.mark.parametrize(
    ("place", "content", "label"),
    [
        ("cls", b"7\n", 7),
        ("cls", b"-1", None),
        ("cls", b"", None),
        ("txt", b" dog ", "dog"),
        ("txt", "Kühe".encode(), "Kühe"),
        ("json:label", b'{"label": 3}', 3),
        ("json:label", b'{"label": "12"}', 12),
        ("json:label", b'{"label": null}', None),
        ("json:label", b'{"other": 3}', None),
        ("json:a.b", b'{"a": {"b": "dog"}}', "dog"),
        ("json:a.b", b'{"a": 3}', None),
    ],
)
def test_what_a_label_is(place: str, content: bytes, label: int | str | None) -> None:
    assert LabelPlace.parse(place).read(content, "x") == label


@pytest.mark.parametrize(
    ("place", "content", "line"),
    [
        ("cls", b"-2", "the label is -2"),
        ("cls", b"99999999999", "the label is 99999999999"),
        ("txt", b"\xff", "no UTF-8"),
        ("json:label", b'{"label": 1.5}', "of type float"),
        ("json:label", b'{"label": true}', "of type bool"),
        ("json:label", b'{"label": [1]}', "of type list"),
        ("json:label", b"{", "unreadable JSON"),
    ],
)
def test_what_is_no_label(place: str, content: bytes, line: str) -> None:
    with pytest.raises(FormatError, match=line):
        LabelPlace.parse(place).read(content, "a.tar: x")


def test_names_become_numbers() -> None:
    classes = (
        ClassFact(wnid="n01", words="cat"),
        ClassFact(wnid="n02", words="crane"),
        ClassFact(wnid="n03", words="crane"),
    )
    assert class_numbers(classes) == {"n01": 0, "n02": 1, "n03": 2, "cat": 0}
    numbers = LabelNumbers(LabelPlace.parse("txt"), class_numbers(classes), takes_names=True)
    assert (numbers.read(b"cat", "x"), numbers.read(b"n03", "x"), numbers.read(b"2", "x")) == (0, 2, 2)
    with pytest.raises(FormatError, match="'crane'; expected a 0-based class number, or a name of the list"):
        numbers.read(b"crane", "x")
    with pytest.raises(FormatError, match="expected a 0-based class number, make the shard again"):
        CLS.read(b"cat", "x")


@pytest.fixture
def shards(tmp_path: Path) -> Callable[..., str]:
    """Shards of 9 samples by webdataset's writer, their labels where `fields` of a sample puts them."""

    def write(fields: Callable[[int], dict[str, Any]]) -> str:
        with webdataset.ShardWriter(f"{tmp_path}/train-%03d.tar", maxcount=4, verbose=0) as writer:
            for number in range(9):
                writer.write({"__key__": f"p{number}", "jpg": b"\xff\xd8 %d" % number, **fields(number)})
        return f"{tmp_path}/train-*.tar"

    return write


def index(pattern: str, place: str | None = None, **rules: Any) -> Any:
    """What becomes of shards that are indexed."""
    where = LabelPlace.parse(place) if place else None
    return index_shards([pattern], 1, lambda done, total: None, LabelRules(place=where, **rules))


def test_labels_in_json_stay_where_they_are(shards: Any, tmp_path: Path) -> None:
    pattern = shards(lambda number: {"json": {"label": number % 3}, "txt": NAMES[number % 3]})
    found = index(pattern, "json:label")
    assert found.manifest.source == {"label": "json:label"}
    expected = [number % 3 for number in range(9)]
    assert open_shards([pattern]).labels.tolist() == expected
    (tmp_path / "train.index.npy").unlink()  # made again, by the same place
    assert open_shards([pattern]).labels.tolist() == expected
    for path in tmp_path.glob("train-*.tar"):
        path.touch()
    assert open_shards([pattern]).labels.tolist() == expected


def test_names_in_txt_by_a_class_list(shards: Any, tmp_path: Path) -> None:
    pattern = shards(lambda number: {"txt": NAMES[number % 3]})
    with pytest.raises(FormatError, match=r"p0.txt: the label is 'cat'; expected .*--classes"):
        index(pattern, "txt")
    (tmp_path / "classes").write_text("n03 owl\nn02 dog\nn01 cat\n")
    index(pattern, "txt", classes=read_classes(tmp_path / "classes"))
    assert open_shards([pattern]).labels.tolist() == [2 - number % 3 for number in range(9)]


def test_samples_without_a_label_are_said_before_anything_is_written(shards: Any, tmp_path: Path) -> None:
    pattern = shards(lambda number: {"json": {"label": number}} if number != 5 else {"json": {}})
    with pytest.raises(FormatError, match=r"p0: no label in cls \(9 of 9 samples have none; there are .json members\)"):
        index(pattern)
    with pytest.raises(FormatError, match=r"train-001.tar: p5: no label in json:label \(1 of 9"):
        index(pattern, "json:label")
    assert not (tmp_path / "train.manifest.json").exists()
    assert index(pattern, "json:label", are_needed=False).manifest.samples == 9
    assert open_shards([pattern]).labels.tolist() == [0, 1, 2, 3, 4, -1, 6, 7, 8]


def test_a_damaged_place_in_a_manifest_is_one_line(shards: Any, tmp_path: Path) -> None:
    pattern = shards(lambda number: {"cls": number})
    index(pattern)
    assert load_manifest(tmp_path / "train.manifest.json").source == {}
    path = tmp_path / "train.manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"source": {"label": 7}}))
    with pytest.raises(FormatError, match="the manifest's labels stand in '7': expected"):
        open_shards([pattern])


def test_a_class_list_as_editors_write_it() -> None:
    for text in ("n01 tench, fish\nn02\n", "\ufeffn01\ttench, fish\r\n\r\nn02 \r\n", " n01  tench, fish\rn02"):
        facts = class_lines(text)
        assert [(fact.wnid, fact.words) for fact in facts] == [("n01", "tench, fish"), ("n02", "")]


def test_names_with_spaces_end_at_tabs_where_every_line_has_one() -> None:
    facts = class_lines("red fox\tvulpes vulpes\r\nred panda\t\nn01\ttench\n")
    assert [(fact.wnid, fact.words) for fact in facts] == [
        ("red fox", "vulpes vulpes"),
        ("red panda", ""),
        ("n01", "tench"),
    ]
    assert [fact.wnid for fact in class_lines("n02 red\tfox\nn01 tench")] == ["n02", "n01"]
