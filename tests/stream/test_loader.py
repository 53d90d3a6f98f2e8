"""The threads: jobs land in their slots, failures are told by place, and cancelling really ends the writing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from alexnet_shards.shardset import ShardSet, open_shards
from alexnet_stream.loader import Job, LoaderConfig, SampleLoader, ThreadLoader
from alexnet_stream.reader import LocalShards


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory, make_shards: Callable[..., str]) -> ShardSet:
    return open_shards([make_shards(tmp_path_factory.mktemp("shards"), (30, 20))])


def config_of(shards: ShardSet, batch_size: int = 50, height_px: int = 224, num_slots: int = 3) -> LoaderConfig:
    shape = (batch_size, height_px, height_px, 3)
    return LoaderConfig(
        source=LocalShards(shards.paths), num_slots=num_slots, slot_shape=shape, threads=3, check_crc=True
    )


def crop_job(shards: ShardSet, rows: list[int], seed: int = 0) -> Job:
    rng = np.random.default_rng(seed)
    top_px, left_px = rng.integers(0, 33, (2, len(rows)), np.uint8)
    return Job(rows=shards.rows[rows], crop_top_px=top_px, crop_left_px=left_px)


def test_crops_are_slices_of_whole_images(shards: ShardSet) -> None:
    rows = list(range(50))[::-1]
    job, samples = crop_job(shards, rows), SampleLoader(LocalShards(shards.paths), check_crc=True)
    whole_nhwc, crops_nhwc = np.zeros((50, 256, 256, 3), np.uint8), np.zeros((50, 224, 224, 3), np.uint8)
    assert samples.load(Job(rows=shards.rows[rows]), 0, 50, whole_nhwc).failures == ()
    assert samples.load(job, 0, 50, crops_nhwc).failures == ()
    samples.close()
    assert job.crop_top_px is not None
    assert job.crop_left_px is not None
    for whole_hwc, crop_hwc, top, left in zip(whole_nhwc, crops_nhwc, job.crop_top_px, job.crop_left_px, strict=True):
        assert np.array_equal(crop_hwc, whole_hwc[int(top) : int(top) + 224, int(left) : int(left) + 224])


@pytest.mark.parametrize("crop", [True, False])
def test_without_a_compiler_everything_is_the_same(
    shards: ShardSet, crop: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pixels and reasons."""
    job = crop_job(shards, list(range(50))) if crop else Job(rows=shards.rows[list(range(50))])
    job.rows["crc32"][[3, 41]] += 1
    job.rows["size"][17] -= 100
    results = []
    for compiled in (True, False):
        if not compiled:
            monkeypatch.setattr("alexnet_stream.loader.load_crops", lambda: None)
        images_nhwc = np.zeros((50, 224, 224, 3) if crop else (50, 256, 256, 3), np.uint8)
        samples = SampleLoader(LocalShards(shards.paths), check_crc=True)
        report = samples.load(job, 0, 50, images_nhwc)
        samples.close()
        assert [place for place, _ in report.failures] == [3, 17, 41]
        results.append((images_nhwc, report.failures))
    assert np.array_equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]


def test_jobs_land_in_their_slots(shards: ShardSet) -> None:
    """Three jobs at once, of three sizes, equal one thread's work; the rest of a slot is not touched."""
    loader, samples = ThreadLoader(config_of(shards)), SampleLoader(LocalShards(shards.paths), check_crc=True)
    jobs = [crop_job(shards, list(range(first, last)), first) for first, last in ((0, 50), (7, 8), (20, 37))]
    for slot, job in enumerate(jobs):
        loader.slots[slot][:] = 77
        loader.submit(slot, job)
    for slot, job in reversed(list(enumerate(jobs))):
        report = loader.wait(slot)
        assert report.failures == ()
        assert report.decode_seconds > 0
        expected = np.full((50, 224, 224, 3), 77, np.uint8)
        samples.load(job, 0, len(job.rows), expected)
        assert np.array_equal(loader.slots[slot], expected)
    loader.close()
    samples.close()


def test_an_empty_job(shards: ShardSet) -> None:
    loader = ThreadLoader(config_of(shards))
    loader.submit(0, crop_job(shards, []))
    assert loader.wait(0).failures == ()
    loader.close()


def test_failures_are_told_by_place(shards: ShardSet) -> None:
    job = crop_job(shards, list(range(50)))
    job.rows["crc32"][[3, 41]] += 1
    job.rows["size"][17] -= 100
    loader = ThreadLoader(config_of(shards))
    loader.submit(1, job)
    failures = dict(loader.wait(1).failures)
    loader.close()
    assert sorted(failures) == [3, 17, 41]
    assert all("crc32" in reason for reason in failures.values())


def test_without_crc_a_changed_checksum_passes(shards: ShardSet) -> None:
    job = crop_job(shards, [1, 2])
    job.rows["crc32"] += 1
    images_nhwc = np.zeros((2, 224, 224, 3), np.uint8)
    assert len(SampleLoader(LocalShards(shards.paths), check_crc=True).load(job, 0, 2, images_nhwc).failures) == 2
    assert SampleLoader(LocalShards(shards.paths), check_crc=False).load(job, 0, 2, images_nhwc).failures == ()


def test_a_dropped_job_never_writes_over_the_next(shards: ShardSet) -> None:
    loader, expected = ThreadLoader(config_of(shards)), ThreadLoader(config_of(shards))
    job = crop_job(shards, list(range(16)))
    expected.submit(0, job)
    expected.wait(0)
    for _ in range(20):
        loader.submit(0, crop_job(shards, list(range(49, -1, -1))))
        loader.cancel(0)
        loader.submit(0, job)
        loader.wait(0)
        assert np.array_equal(loader.slots[0][:16], expected.slots[0][:16])
    loader.cancel(2)
    loader.close()
    expected.close()


def test_a_missing_shard_is_a_failure_of_its_samples(shards: ShardSet, tmp_path: Path) -> None:
    samples = SampleLoader(LocalShards((shards.paths[0], str(tmp_path / "gone.tar"))), check_crc=True)
    report = samples.load(crop_job(shards, [29, 30]), 0, 2, np.zeros((2, 224, 224, 3), np.uint8))
    assert [place for place, _ in report.failures] == [1]
    samples.close()
