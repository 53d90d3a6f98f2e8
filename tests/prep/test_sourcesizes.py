"""Sizes of sources: every image in the one bin that holds it, sums of parts the counts of all, no count of the unknown."""

import json

import numpy as np
import pytest

from alexnet_prep.sourcesizes import EDGES, SOURCE_DTYPE, add_sizes, bin_at, check_sizes, count_sizes


def drawn(count: int) -> np.ndarray:
    rng = np.random.default_rng(count)
    sides = np.exp(rng.uniform(0, np.log(1_000_000), (2, count))).astype(np.uint32)
    found = np.zeros(count, SOURCE_DTYPE)
    found["width_px"], found["height_px"] = sides
    found["bytes"] = np.exp(rng.uniform(0, np.log(2**31), count)).astype(np.uint32)
    return found


def test_each_image_is_in_the_bin_that_holds_it() -> None:
    sources = drawn(3000)
    sizes = count_sizes(sources)
    assert sizes.keys() == EDGES.keys() == {"width_px", "height_px", "aspect", "bytes"}
    values: dict[str, list[float]] = {name: sources[name].tolist() for name in ("width_px", "height_px", "bytes")}
    values["aspect"] = [int(each["width_px"]) / int(each["height_px"]) for each in sources]
    for name, bins in sizes.items():
        assert bins == sorted(bins)
        for low, high, count in bins:
            assert count == sum(low <= value < high for value in values[name]) > 0
        assert sum(count for _, _, count in bins) == 3000


@pytest.mark.parametrize(
    ("width_px", "height_px", "aspect"), [(1, 1, 1.0), (1, 1_000_000, 0.0), (1_000_000, 1, 64.0), (500, 375, 1.2968)]
)
def test_the_ends_and_the_usual(width_px: int, height_px: int, aspect: float) -> None:
    sizes = count_sizes(np.array([(width_px, height_px, 1)], SOURCE_DTYPE))
    assert sizes["aspect"][0][0] == aspect
    assert [bins[0][2] for bins in sizes.values()] == [1, 1, 1, 1]


def test_an_octave_has_eight_bins() -> None:
    for name in ("width_px", "height_px", "bytes"):
        assert {256, 512, 1024} <= set(EDGES[name].tolist())
        assert ((EDGES[name] >= 256) & (EDGES[name] < 512)).sum() == 8
        assert len(set(EDGES[name].tolist())) == len(EDGES[name])
    assert ((EDGES["aspect"] >= 1) & (EDGES["aspect"] < 2)).sum() == 8


def test_parts_add_up_in_any_order_and_through_json() -> None:
    sources = drawn(1000)
    parts = [count_sizes(part) for part in np.array_split(sources, 7)]
    written = json.loads(json.dumps(parts))
    for part in written:
        check_sizes(part)
    assert add_sizes(parts) == add_sizes(reversed(written)) == count_sizes(sources)


def test_what_is_not_known_is_not_counted() -> None:
    sources = drawn(5)
    known = count_sizes(sources)
    sources["height_px"][3] = 0
    assert count_sizes(sources) == {} == count_sizes(sources[:0])
    assert add_sizes([known, {}, known]) == {} == add_sizes([])


@pytest.mark.parametrize(
    "sizes",
    [
        [],
        {"width_px": []},
        {"colour": [[1, 2, 3]]},
        {name: [[1, 2]] for name in EDGES},
        {name: [[2, 1, 1]] for name in EDGES},
        {name: [[1, 2, "3"]] for name in EDGES},
        {name: [[1, 2, True]] for name in EDGES},
        {name: [[1, 2, 0]] for name in EDGES},
        dict.fromkeys(EDGES, 7),
    ],
)
def test_counts_of_a_damaged_file_are_refused(sizes: object) -> None:
    with pytest.raises(ValueError, match="sizes|bin"):
        check_sizes(sizes)


def test_shares_end_in_a_bin() -> None:
    bins = [[0, 10, 1], [10, 20, 2], [20, 40, 1]]
    assert [bin_at(bins, share) for share in (0.0, 0.25, 0.5, 0.75, 0.76, 1.0)] == [
        (0, 10), (0, 10), (10, 20), (10, 20), (20, 40), (20, 40)
    ]  # fmt: skip
