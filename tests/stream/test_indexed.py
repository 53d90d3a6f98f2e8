"""The webdataset stage, in real webdataset pipelines: the samples that webdataset itself reads, each once."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import webdataset

from alexnet_shards.errors import AlexnetError
from alexnet_shards.shardset import ShardSet, open_shards
from alexnet_stream.epoch import epoch_table
from alexnet_stream.indexed import IndexedSamples


@pytest.fixture
def shards(tmp_path: Path, make_shards: Callable[..., str]) -> ShardSet:
    return open_shards([make_shards(tmp_path, (7, 5, 9))])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves its files open
def test_the_samples_that_webdataset_reads(shards: ShardSet) -> None:
    theirs = webdataset.DataPipeline(
        webdataset.SimpleShardList(list(shards.paths)), webdataset.tarfile_to_samples(), webdataset.decode("rgb8")
    )
    ours = webdataset.DataPipeline(IndexedSamples(shards, seed=0, shuffle=False), webdataset.decode("rgb8"))
    pairs = list(zip(theirs, ours, strict=True))
    assert len(pairs) == 21
    for expected, found in pairs:
        assert [found[name] for name in ("__key__", "__url__", "cls")] == [
            expected[name] for name in ("__key__", "__url__", "cls")
        ]
        assert np.array_equal(found["jpg"], expected["jpg"])


def test_the_order_is_the_streams(shards: ShardSet) -> None:
    stage = IndexedSamples(shards, seed=3)
    pipeline = webdataset.DataPipeline(stage, webdataset.to_tuple("__key__"))
    for epoch in (0, 1, 0):
        stage.set_epoch(epoch)
        assert [key for (key,) in pipeline] == [f"train{row:04d}" for row in epoch_table(21, 3, epoch).rows]


def test_workers_share_an_epoch(shards: ShardSet) -> None:
    """Also those that live on: each epoch has every sample once, and an order of its own."""
    stage = IndexedSamples(list(shards.paths), seed=3)
    pipeline = webdataset.DataPipeline(stage, webdataset.to_tuple("__key__", "cls"))
    loader = webdataset.WebLoader(pipeline, num_workers=2, batch_size=None, persistent_workers=True)
    orders = []
    for epoch in range(2):
        stage.set_epoch(epoch)
        orders.append([key for key, _ in loader])
    assert sorted(orders[0]) == sorted(orders[1]) == [f"train{row:04d}" for row in range(21)]
    assert orders[0] != orders[1]


def test_nodes_share_an_epoch(shards: ShardSet, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "3")
        part = [sample["__key__"] for sample in IndexedSamples(shards, seed=1)]
        assert len(part) == 7
        keys += part
    assert sorted(keys) == [f"train{row:04d}" for row in range(21)]


def test_batches(shards: ShardSet) -> None:
    pipeline = webdataset.DataPipeline(
        IndexedSamples(shards, seed=0),
        webdataset.decode("rgb8"),
        webdataset.to_tuple("jpg", "cls"),
        webdataset.batched(4),
    )
    batches = list(pipeline)
    assert [len(labels) for _, labels in batches] == [4, 4, 4, 4, 4, 1]
    assert batches[0][0].shape == (4, 256, 256, 3)


def test_damage_is_not_passed_on(shards: ShardSet) -> None:
    row = shards.rows[9]
    with Path(shards.paths[row["shard"]]).open("r+b") as file:
        file.seek(int(row["offset"]) + 50)
        file.write(b"changed")
    with pytest.raises(AlexnetError, match="train0009: crc32"):
        list(webdataset.DataPipeline(IndexedSamples(shards, seed=0)))
