"""The epoch table: each sample once, uniform draws, the same on every machine, and windows that are windows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as sps

from alexnet_stream.epoch import EpochTable, Windows, epoch_table, lasting_flips


def windows_of(sizes: list[int], width: int) -> Windows:
    return Windows(shard_of_row=np.repeat(np.arange(len(sizes), dtype=np.uint32), sizes), shards_in_window=width)


def same(a: EpochTable, b: EpochTable) -> bool:
    return all(np.array_equal(vars(a)[name], vars(b)[name]) for name in vars(a))


@settings(max_examples=60, deadline=None)
@given(num_samples=st.integers(0, 400), seed=st.integers(0, 2**63), epoch=st.integers(0, 10**6))
def test_every_sample_once_and_ranges(num_samples: int, seed: int, epoch: int) -> None:
    table = epoch_table(num_samples, seed, epoch)
    assert sorted(table.rows.tolist()) == list(range(num_samples))
    shapes = {name: (array.shape, array.dtype.name) for name, array in vars(table).items()}
    assert shapes == {
        "rows": ((num_samples,), "int64"),
        "crop_top_px": ((num_samples,), "uint8"),
        "crop_left_px": ((num_samples,), "uint8"),
        "flip": ((num_samples,), "bool"),
        "noise_z": ((num_samples, 3), "float32"),
    }
    assert all(array.max(initial=0) <= 32 for array in (table.crop_top_px, table.crop_left_px))
    assert same(table, epoch_table(num_samples, seed, epoch))


def test_values_are_pinned() -> None:
    """The order must not move between releases: a resumed run would see other samples."""
    table = epoch_table(8, 2012, 5)
    assert table.rows.tolist() == [2, 7, 6, 1, 3, 4, 5, 0]
    assert table.crop_top_px.tolist() == [21, 6, 14, 8, 30, 18, 30, 1]
    assert table.crop_left_px.tolist() == [29, 15, 30, 25, 11, 30, 30, 2]
    assert table.flip.tolist() == [False, True, True, False, True, False, True, True]


def test_seeds_and_epochs_differ() -> None:
    tables = [epoch_table(500, seed, epoch) for seed, epoch in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]]
    for name in vars(tables[0]):
        arrays = [vars(table)[name] for table in tables]
        for i, first in enumerate(arrays):
            assert not any(np.array_equal(first, other) for other in arrays[:i])


def test_crops_flips_and_noise_are_uniform_and_independent() -> None:
    table = epoch_table(120_000, 1, 0)
    cells = np.zeros((256 - 224 + 1, 256 - 224 + 1, 2))
    np.add.at(cells, (table.crop_top_px, table.crop_left_px, table.flip.astype(int)), 1)
    assert np.count_nonzero(cells) == 1089 * 2
    assert sps.chisquare(cells.ravel()).pvalue > 1e-4
    for axis in range(3):
        assert sps.kstest(table.noise_z[:, axis], "norm").pvalue > 1e-4
    columns = [table.rows, table.crop_top_px, table.crop_left_px, table.flip, *table.noise_z.T]
    correlations = np.corrcoef(np.array(columns, np.float64))
    assert np.abs(correlations - np.eye(len(columns))).max() < 0.02


def test_permutations_are_uniform() -> None:
    counts: dict[tuple[int, ...], int] = {}
    for epoch in range(4800):
        order = tuple(epoch_table(4, 9, epoch).rows.tolist())
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 24
    assert sps.chisquare(list(counts.values())).pvalue > 1e-4


def test_without_shuffle_and_crop() -> None:
    table = epoch_table(10, 3, 2, shuffle=False, crop="none")
    assert table.rows.tolist() == list(range(10))
    assert set(table.crop_top_px) == set(table.crop_left_px) == {16}
    assert not table.flip.any()
    assert not table.noise_z.any()
    assert same(epoch_table(10, 3, 2, shuffle=False), epoch_table(10, 3, 2, shuffle=False))
    assert np.array_equal(epoch_table(10, 3, 2, crop="none").rows, epoch_table(10, 3, 2).rows)


def test_centre_crops_do_not_move_the_rest() -> None:
    usual, centred = epoch_table(50, 3, 2), epoch_table(50, 3, 2, crop="centre")
    assert set(centred.crop_top_px) == set(centred.crop_left_px) == {16}
    for name in ("rows", "flip", "noise_z"):
        assert np.array_equal(getattr(centred, name), getattr(usual, name)), name


@settings(max_examples=80, deadline=None)
@given(sizes=st.lists(st.integers(0, 30), min_size=1, max_size=14), width=st.integers(1, 16), seed=st.integers(0, 99))
def test_windows_hold_whole_shards(sizes: list[int], width: int, seed: int) -> None:
    windows = windows_of(sizes, width)
    rows = epoch_table(sum(sizes), seed, 0, windows=windows).rows
    assert sorted(rows.tolist()) == list(range(sum(sizes)))
    shards = windows.shard_of_row[rows]
    spans = [np.flatnonzero(shards == shard) for shard in range(len(sizes)) if sizes[shard]]
    for position in range(len(shards)):
        begun = sum(span[0] <= position for span in spans)
        ended = sum(span[-1] < position for span in spans)
        assert begun - ended <= width


def test_windows_shuffle_shards_and_samples() -> None:
    windows = windows_of([50] * 20, 4)
    tables = [epoch_table(1000, 5, epoch, windows=windows) for epoch in range(30)]
    sets = {frozenset(windows.shard_of_row[table.rows[:200]].tolist()) for table in tables}
    assert len(sets) > 20
    assert all(len(chosen) == 4 for chosen in sets)
    places = np.concatenate([np.argsort(table.rows)[:50] % 200 for table in tables])
    assert sps.kstest(places / 200, "uniform").pvalue > 1e-4


def test_windows_do_not_move_crops() -> None:
    table, windowed = epoch_table(100, 5, 1), epoch_table(100, 5, 1, windows=windows_of([50, 50], 1))
    assert np.array_equal(table.crop_top_px, windowed.crop_top_px)
    assert np.array_equal(table.noise_z, windowed.noise_z)


@pytest.mark.parametrize("width", [20, 100])
def test_one_window_is_a_global_shuffle(width: int) -> None:
    rows = epoch_table(1000, 5, 0, windows=windows_of([50] * 20, width)).rows
    assert len(set((rows[:100] // 50).tolist())) > 15


def test_lasting_flips_are_fair_coins_of_the_seed_alone() -> None:
    flips = lasting_flips(100_000, 3)
    assert abs(int(flips.sum()) - 50_000) < 800  # five deviations
    assert np.array_equal(flips[:10], lasting_flips(10, 3)), "a sample's flip does not depend on how many there are"
    assert abs(int((flips == lasting_flips(100_000, 4)).sum()) - 50_000) < 800
    table = epoch_table(100_000, 3, 0, shuffle=False)
    assert abs(int((flips == table.flip).sum()) - 50_000) < 800, "not the flips of an epoch"
