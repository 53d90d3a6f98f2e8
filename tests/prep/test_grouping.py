"""Pictures found by their place in the source, and put into the order of the shards."""

import base64
import zlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from alexnet_pixels.recipe import PixelRecipe
from alexnet_prep.archive import LOCATION_DTYPE
from alexnet_prep.grouping import Pictures, find_pictures, group_jobs
from alexnet_prep.job import BuildSetup
from alexnet_prep.order import NUMBERS_AN_ARCHIVE
from alexnet_prep.reader import SourceReader
from alexnet_prep.stretch import IMAGE_DTYPE, NO_CONTAINER, StretchFacts, grouped_path, pictures_path, stretch_name


def facts_of(number: int, container: int, rows: list[tuple[int, int]], **more: Any) -> StretchFacts:
    """A stretch of (image, size) with pictures of 10 bytes each."""
    table = np.array([(i, s, b"\1" * 32, 10 * n, 10, 7) for n, (i, s) in enumerate(rows)], IMAGE_DTYPE)
    words = {"reasons": [], "kinds": [], "given_up": [], **more}
    return StretchFacts(
        number=number,
        name=stretch_name(number),
        identity="",
        container=container,
        start=0,
        bytes=10 * len(rows),
        rows=base64.b64encode(table.tobytes()).decode(),
        is_noted=False,
        **words,
    )


def index_of(places: list[tuple[int, int, int]], sparse: dict[Any, Any] | None = None) -> Any:
    """An index of (container, offset, size)."""
    locations = np.array([(c, -1, o, s) for c, o, s in places], LOCATION_DTYPE)

    class Index(SimpleNamespace):
        """As much of one as is looked at."""

        def __len__(self) -> int:
            return len(self.locations)

    return Index(locations=locations, sparse=sparse or {})


def test_places_in_a_set_of_many_tars() -> None:
    """A number a stretch and 100,000 of them a tar: more than 32 bits hold, as are 65,536 tars beside 48 bits of offset."""
    places = [(0, 512, 5), (65_536, 512, 5), (70_000, 2**40, 6)]
    stretches = [
        facts_of(container * NUMBERS_AN_ARCHIVE, container, [(offset, size)], reasons=[(0, f"of {container}")])
        for container, offset, size in places
    ]
    found = find_pictures(index_of(places), stretches)
    assert found.table["stretch"].tolist() == [0, 6_553_600_000, 7_000_000_000]
    assert found.reasons == {0: "of 0", 1: "of 65536", 2: "of 70000"}


def test_images_are_found_by_place_and_length() -> None:
    # Row 3 is a link to row 0's file; row 4 has another length than what was read; row 5 has holes; row 6 nobody read.
    places = [(0, 512, 5), (1, 512, 6), (0, 2048, 7), (0, 512, 5), (1, 4096, 9), (1, 8192, 4), (1, 9999, 1)]
    stretches = [
        facts_of(
            0, 0, [(512, 5), (2048, 7), (7777, 3)], reasons=[(0, "no image")], kinds=[(1, ["gray"])], given_up=[0]
        ),
        facts_of(1, 1, [(512, 6), (4096, 8), (8192, 4)]),
    ]
    found = find_pictures(index_of(places, {(1, 8192): ()}), stretches)
    assert found.table["stretch"].tolist() == [0, 1, 0, 0, -1, -1, -1]
    assert found.missing().tolist() == [4, 5, 6]
    assert found.reasons == {0: "no image", 3: "no image"}
    assert found.kinds == {2: ("gray",)}
    assert found.given_up == {0, 3}
    assert found.digest(1) == b"\1" * 32
    assert found.digest(6) is None
    listed = find_pictures(index_of(places), [facts_of(2, NO_CONTAINER, [(6, 1), (4, 9)])])
    assert listed.missing().tolist() == [0, 1, 2, 3, 5]


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[BuildSetup, Pictures, dict[int, bytes]]:
    """Two stretches of four pictures, the second with one that nobody has."""
    setup = BuildSetup(containers=(), recipe=PixelRecipe(), out=tmp_path, sidecars=tmp_path)
    contents = {row: bytes([row]) * (row + 1) for row in range(8) if row != 5}
    table = []
    for stretch, rows in enumerate(([3, 0, 2, 1], [7, 5, 4, 6])):
        place = 0
        for row in rows:
            jpeg = contents.get(row, b"")
            table.append((row, stretch, place, len(jpeg), zlib.crc32(jpeg)))
            place += len(jpeg)
        pictures_path(setup, stretch_name(stretch)).write_bytes(b"".join(contents.get(row, b"") for row in rows))
    table.sort()
    dtype = [("stretch", "<i4"), ("place", "<u8"), ("length", "<u4"), ("crc32", "<u4")]
    entries = np.array([row[1:] for row in table], dtype)
    no_digests = np.zeros(8, "V32")
    found = Pictures(table=entries, digests=no_digests, reasons={5: "x"}, kinds={}, given_up=frozenset())
    return setup, found, contents


def test_a_stretch_is_put_in_order(pictures: Any) -> None:
    setup, found, contents = pictures
    rank = np.array([6, 1, 4, 0, 3, 2, 5, 7])
    jobs, places = group_jobs(found, rank)
    for job in jobs:
        assert job.finished(setup, lambda *_: None) is None
        assert not job.run(setup, SourceReader(()), lambda *_: None)[0].is_damaged
        assert job.finished(setup, lambda *_: None) is not None
        assert not pictures_path(setup, stretch_name(job.number)).exists()
    grouped = [grouped_path(setup, stretch_name(number)).read_bytes() for number in (0, 1)]
    assert grouped[0] == b"".join(contents[row] for row in (3, 1, 2, 0))
    for row, content in contents.items():
        start = int(places[row])
        assert grouped[int(found.table["stretch"][row])][start : start + len(content)] == content


def test_rot_is_damage_and_leaves_nothing(pictures: Any) -> None:
    setup, found, _ = pictures
    path = pictures_path(setup, stretch_name(0))
    content = bytearray(path.read_bytes())
    content[2] ^= 1
    path.write_bytes(content)
    jobs, _ = group_jobs(found, np.arange(8))
    result, _ = jobs[0].run(setup, SourceReader(()), lambda *_: None)
    assert (result.is_damaged, result.number) == (True, 0)
    assert not path.exists()
    assert not grouped_path(setup, stretch_name(0)).exists()
    assert jobs[0].run(setup, SourceReader(()), lambda *_: None)[0].is_damaged  # what is away is read again, too
    assert not jobs[1].run(setup, SourceReader(()), lambda *_: None)[0].is_damaged
    assert replace(jobs[1], pictures=jobs[1].pictures[:2]).finished(setup, lambda *_: None) is None
