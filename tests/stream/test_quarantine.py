"""Bad samples: stopped at by default, or replaced as the table says, counted, logged and limited."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from alexnet_shards.errors import AlexnetError
from alexnet_shards.shardset import ShardSet, open_shards
from alexnet_stream.epoch import epoch_table
from alexnet_stream.stream import Stream, StreamConfig

BAD = (2, 3, 11)
CONFIG = StreamConfig(batch_size=6, seed=5, last="keep", threads=2, quarantine=3)


@pytest.fixture
def shards(tmp_path: Path, make_shards: Callable[..., str]) -> ShardSet:
    """20 samples, three of them with a changed byte."""
    shards = open_shards([make_shards(tmp_path, (8, 12))])
    for row in BAD:
        entry = shards.rows[row]
        with Path(shards.paths[entry["shard"]]).open("r+b") as file:
            file.seek(int(entry["offset"]) + 300)
            file.write(b"\0\1\2\3")
    return shards


def expected_rows() -> list[int]:
    """Each bad sample's place goes to the next good one of the order, which wraps around."""
    order = epoch_table(20, 5, 0).rows.tolist()
    result = []
    for place in range(20):
        while order[place % 20] in BAD:
            place += 1
        result.append(order[place % 20])
    return result


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("child_process", [False, True])
def test_replaced_as_the_table_says(shards: ShardSet, world_size: int, child_process: bool) -> None:
    parts = []
    for rank in range(world_size):
        config = replace(CONFIG, rank=rank, world_size=world_size, child_process=child_process)
        with Stream(shards, config) as stream:
            batches = [
                (b.rows.clone(), b.labels.clone(), b.images_nhwc.clone(), b.valid.clone()) for b in stream.epoch()
            ]
        parts.append(batches)
        assert all(valid.all() for *_, valid in batches)
    rows = [int(row) for step in zip(*parts, strict=True) for part in step for row in part[0]]
    labels = [int(label) for step in zip(*parts, strict=True) for part in step for label in part[1]]
    images = [image for step in zip(*parts, strict=True) for part in step for image in part[2].numpy()]
    assert rows == expected_rows()
    assert labels == [int(shards.rows["label"][row]) for row in rows]
    check_pixels(shards, rows, images)


def check_pixels(shards: ShardSet, rows: list[int], images: list[np.ndarray]) -> None:
    """Each image is its row's, cropped as its place in the epoch says."""
    with Stream(shards, replace(CONFIG, crop="none", shuffle=False, batch_size=20)) as stream:
        (batch,) = stream.epoch()
        whole_nhwc = batch.images_nhwc.numpy()
        table = epoch_table(20, 5, 0)
        for place, (row, image_hwc) in enumerate(zip(rows, images, strict=True)):
            top, left = int(table.crop_top_px[place]), int(table.crop_left_px[place])
            assert np.array_equal(image_hwc, whole_nhwc[row, top : top + 224, left : left + 224])


def test_logged_once_and_counted(shards: ShardSet, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), Stream(shards, CONFIG) as stream:
        for _ in range(3):
            list(stream.epoch())
        assert stream.meters["quarantined"] == 9
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 3
    for row in BAD:
        assert sum(f", train{row:04d}: crc32" in message and "of at most 3" in message for message in messages) == 1


@pytest.mark.parametrize("limit", [0, 1, 2])
def test_one_too_many_stops_the_run(shards: ShardSet, limit: int) -> None:
    with Stream(shards, replace(CONFIG, quarantine=limit)) as stream, pytest.raises(AlexnetError) as error:
        list(stream.epoch())
    assert "alexnet-prep verify" in str(error.value)
    assert ("in quarantine already" in str(error.value)) == (limit > 0)
    assert "\n" not in str(error.value)


def test_the_limit_is_of_the_run(shards: ShardSet) -> None:
    """Two processes, of which neither has more bad samples than are allowed, but both together have."""
    for limit, is_enough in ((2, False), (3, True)):
        bad: set[int] = set()

        def tally(row: int, bad: set[int] = bad) -> int:
            bad.add(row)
            return len(bad)

        configs = [replace(CONFIG, quarantine=limit, rank=rank, world_size=2) for rank in range(2)]
        if not is_enough:
            for config in configs:
                with Stream(shards, config) as stream:
                    list(stream.epoch())
                    assert len(stream._quarantine.bad_rows) <= 2
        failures = 0
        for config in configs:
            with Stream(shards, config, tally=tally) as stream:
                try:
                    list(stream.epoch())
                except AlexnetError as error:
                    assert "2 bad samples are in quarantine already" in str(error)
                    failures += 1
        assert failures == (0 if is_enough else 1)


def test_whole_images_are_masked_and_never_counted_twice(shards: ShardSet) -> None:
    config = replace(CONFIG, crop="none", shuffle=False, last="pad", batch_size=8)
    with Stream(shards, config) as stream:
        rows = []
        for batch in stream.epoch():
            rows += batch.rows[batch.valid].tolist()
            assert not batch.images_nhwc[~batch.valid].any()
        assert stream.meters["quarantined"] == 3
    assert rows == [row for row in range(20) if row not in BAD]


def test_all_bad(tmp_path: Path, make_shards: Callable[..., str]) -> None:
    shards = open_shards([make_shards(tmp_path, (3,))])
    changed = np.array(shards.rows)
    changed["crc32"] += 1
    with (
        Stream(replace(shards, rows=changed), replace(CONFIG, batch_size=1, quarantine=9)) as stream,
        pytest.raises(AlexnetError, match="no good sample is left"),
    ):
        list(stream.epoch())
