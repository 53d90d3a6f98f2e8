"""The map-style data set against the decoded tars, and below the loaders that people use."""

import pickle
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
import torch
from torch.utils.data import DataLoader, DistributedSampler
from torch.utils.data.distributed import DistributedSampler as Sampler

from alexnet_shards.errors import AlexnetError
from alexnet_shards.shardset import ShardSet, open_shards
from alexnet_stream import ShardDataset

WORKERS = 2


@pytest.fixture
def shards(make_shards: Callable[..., str], tmp_path: Path) -> ShardSet:
    return open_shards([make_shards(tmp_path / "shards", (7, 5, 9))])


def plain(shards: ShardSet, row: int) -> tuple[np.ndarray[Any, Any], int]:
    """A sample by hand: seek, read, decode."""
    place = shards.rows[row]
    with Path(shards.paths[place["shard"]]).open("rb") as file:
        file.seek(int(place["offset"]))
        return simplejpeg.decode_jpeg(file.read(int(place["size"]))), int(place["label"])


def test_every_sample_is_the_tars(shards: ShardSet) -> None:
    dataset = ShardDataset(shards)
    assert len(dataset) == 21
    for row in range(-21, 21):
        image_hwc, label = dataset[row]
        expected_hwc, expected = plain(shards, row)
        assert np.array_equal(image_hwc, expected_hwc)
        assert label == expected
    with pytest.raises(IndexError):
        dataset[21]
    with pytest.raises(IndexError):
        dataset[-22]


def test_many_at_once_in_the_order_asked_for(shards: ShardSet) -> None:
    rows = [20, 3, 3, 0, 11]
    with ShardDataset(shards, as_torch=True) as dataset:
        for (image_chw, label), row in zip(dataset.__getitems__(rows), rows, strict=True):
            expected_hwc, expected = plain(shards, row)
            assert torch.equal(image_chw, torch.from_numpy(expected_hwc).permute(2, 0, 1))
            assert label == expected
        assert dataset.__getitems__([]) == []


def row_of_image(image_hwc: np.ndarray[Any, Any]) -> int:
    """A transform that is importable: the sum of an image's pixels, by which it is known again."""
    return int(image_hwc.astype(np.int64).sum())


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_every_sample_once_through_workers(shards: ShardSet, start: str) -> None:
    dataset = ShardDataset(shards, row_of_image)
    expected = sorted(row_of_image(plain(shards, row)[0]) for row in range(21))
    dataset[0]  # an open file and a lock that a fork inherits
    loader: DataLoader[Any] = DataLoader(
        dataset, batch_size=4, shuffle=True, num_workers=WORKERS, multiprocessing_context=start
    )
    assert sorted(value for sums, _ in loader for value in sums.tolist()) == expected


def test_two_ranks_share_the_set(shards: ShardSet) -> None:
    dataset = ShardDataset(shards, row_of_image)
    seen = []
    for rank in range(2):
        sampler: Sampler[Any] = DistributedSampler(dataset, num_replicas=2, rank=rank, drop_last=False)
        sampler.set_epoch(3)
        seen += [value for sums, _ in DataLoader(dataset, batch_size=4, sampler=sampler) for value in sums.tolist()]
    assert set(seen) == {row_of_image(plain(shards, row)[0]) for row in range(21)}
    assert len(seen) == 22  # the sampler repeats one sample, so that both ranks have as many


def test_pickled_it_holds_no_open_file(shards: ShardSet) -> None:
    dataset = ShardDataset(shards)
    first_hwc, label = dataset[5]
    again = pickle.loads(pickle.dumps(dataset))
    assert np.array_equal(again[5][0], first_hwc)
    assert again[5][1] == label


def test_a_process_may_change_its_folder(tmp_path: Path, shards: ShardSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(shards.paths[0]).parent)
    opened = ShardDataset("train-*.tar")
    again = pickle.dumps(opened)
    monkeypatch.chdir(tmp_path)
    assert np.array_equal(opened[0][0], ShardDataset(shards)[0][0])
    assert np.array_equal(pickle.loads(again)[20][0], ShardDataset(shards)[20][0])


def test_a_damaged_sample_is_named(shards: ShardSet) -> None:
    place = shards.rows[9]
    with Path(shards.paths[place["shard"]]).open("r+b") as file:
        file.seek(int(place["offset"]) + 40)
        file.write(b"\xff\xff\xff")
    dataset = ShardDataset(shards)
    with pytest.raises(AlexnetError, match=r"train-001\.tar, train0009: .*verify"):
        dataset[9]
    dataset[8]


def test_local_shards_need_no_network(shards: ShardSet, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    assert ShardDataset(list(shards.paths))[0][1] == plain(shards, 0)[1]
