"""Odd pictures of a real source: each damaged one beside its patch, what was dropped, conversions before and after."""

import base64
import hashlib
from pathlib import Path

import pytest

from alexnet_pages import Gallery
from alexnet_prep.errors import SourceError
from alexnet_prep.pagesources import check_same, odd_sources
from alexnet_prep.source import find_source
from alexnet_prep.split import SplitSource
from alexnet_shards import Manifest


def manifest_of(source: SplitSource, members: str | None = None, **report: object) -> Manifest:
    found = {"members": members or source.identity()}
    return Manifest(split=source.split, classes=source.classes, shards=(), source=found, report=report)


@pytest.fixture(scope="module")
def train(data_dir: Path) -> SplitSource:
    return find_source(data_dir / "ilsvrc2010", "2010").read("train", None, lambda count: None)


def test_each_odd_picture_is_shown(train: SplitSource) -> None:
    patched = ["n03394916_10342", "n07718747_11389", "n09472597_587"]
    dropped = [
        {"key": "n03630383_11666", "reason": "truncated JPEG: 67% of the picture is missing"},
        {"key": "n03759954_11373", "reason": "no image"},
        {"key": "gone", "reason": "x"},
    ]
    converted = {"cmyk": ["n03476991_5339"], "one_pixel": ["n03792782_18883"], "none_here": ["gone"]}
    manifest = manifest_of(train, patched=patched, dropped=dropped, converted=converted)
    galleries = [block for block in odd_sources(train, manifest).blocks(manifest) if isinstance(block, Gallery)]
    captions = [[picture.caption for picture in gallery.pictures] for gallery in galleries]
    assert captions[0] == [
        words for key in patched for words in (f"{key}, damaged (all of one colour)", f"{key}, its patch")
    ]
    assert galleries[0].caption == "train: damaged pictures, each beside its patch (3 in all)"
    assert captions[1][0].startswith("n03630383_11666: truncated")
    assert captions[1][1].endswith("(nothing of it can be shown)")
    assert captions[2:] == [
        [
            f"{kind}, {when}: {key}"
            for kind, key in (("cmyk", "n03476991_5339"), ("one pixel", "n03792782_18883"))
            for when in ("before", "after")
        ]
    ]
    pictures = [hashlib.sha256(base64.b64decode(p.uri.partition(",")[2])).digest() for p in galleries[0].pictures]
    assert all(before != after for before, after in zip(pictures[::2], pictures[1::2], strict=True))


def test_nothing_odd_shows_nothing(train: SplitSource) -> None:
    assert list(odd_sources(train, manifest_of(train)).blocks(manifest_of(train))) == []


def test_another_source_is_refused(train: SplitSource, tmp_path: Path) -> None:
    check_same(train, manifest_of(train), tmp_path)
    with pytest.raises(SourceError, match="not those that the shards were made from"):
        check_same(train, manifest_of(train, members="0" * 64), tmp_path)
