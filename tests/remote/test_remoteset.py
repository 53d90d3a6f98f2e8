"""Remote shards from a server that speaks S3's protocol, on localhost: the same batches as from local disk."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import s3fs

from alexnet_remote.cacheconfig import CacheConfig
from alexnet_remote.remoteset import RemoteShardSet, open_shards
from alexnet_remote.tries import Patience
from alexnet_shards.errors import AlexnetError, PatternError
from alexnet_shards.shardset import ShardSet
from alexnet_shards.shardset import open_shards as open_local_shards
from alexnet_stream.stream import Stream, StreamConfig
from alexnet_train.rundata import open_run_data

SIZES = (5, 6, 4, 5, 6, 4)
CONFIG = StreamConfig(batch_size=3, seed=8, order="window", window_shards=2, last="keep", threads=2)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory, make_shards: Callable[..., str]) -> Path:
    directory = tmp_path_factory.mktemp("shards")
    make_shards(directory, SIZES)
    return directory


@pytest.fixture(scope="module")
def bucket(directory: Path, s3_port: int) -> Iterator[s3fs.S3FileSystem]:
    """The shards in the bucket "data" of an S3 server."""
    settings = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{s3_port}",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        files = s3fs.S3FileSystem()
        files.mkdir("data")
        for path in directory.iterdir():
            files.put_file(str(path), f"data/set/{path.name}")
        yield files


@pytest.fixture
def cache(tmp_path: Path) -> CacheConfig:
    return CacheConfig(
        home=tmp_path / "cache", max_bytes=1 << 30, patience=Patience(retries=1, first_wait_seconds=0.01)
    )


def contents(shards: ShardSet, config: StreamConfig) -> list[tuple[list[int], list[int], bytes]]:
    with Stream(shards, config) as stream:
        return [
            (batch.rows.tolist(), batch.labels.tolist(), batch.images_nhwc.numpy().tobytes())
            for _ in range(2)
            for batch in stream.epoch()
        ]


def cached(cache: CacheConfig) -> set[int]:
    """Numbers of the shards in the cache."""
    return {int(path.stem[-3:]) for path in cache.shards.glob("*.tar")}


@pytest.mark.parametrize("order", ["window", "global"])
@pytest.mark.parametrize("child_process", [False, True])
def test_the_same_batches_as_from_local_disk(
    bucket: s3fs.S3FileSystem, directory: Path, cache: CacheConfig, order: str, child_process: bool
) -> None:
    config = replace(CONFIG, order=order, child_process=child_process)  # type: ignore[arg-type]
    shards = open_shards(["s3://data/set/train-{000..005}.tar"], cache)
    local = open_local_shards([f"{directory}/train-*.tar"])
    assert isinstance(shards, RemoteShardSet)
    assert shards.fingerprint == local.fingerprint
    assert np.array_equal(shards.labels, local.labels)
    assert contents(shards, config) == contents(local, config)


def test_five_spellings(bucket: s3fs.S3FileSystem, cache: CacheConfig) -> None:
    whole = open_shards(["s3://data/set/train-<000..005>.tar"], cache)
    assert whole.paths == tuple(f"s3://data/set/train-00{number}.tar" for number in range(6))
    assert open_shards(["s3://data/set/train-*.tar"], cache).paths == whole.paths
    assert open_shards(list(reversed(whole.paths)), cache).paths == whole.paths
    assert open_shards(["s3://data/set/train-<002..003>.tar"], cache).num_samples == 9
    for folder in ("s3://data/set", "s3://data/set/"):
        assert open_shards([folder], cache, split="train").paths == whole.paths
    with pytest.raises(
        PatternError, match=r"s3://data/set: no val shards in this folder .* name them, as s3://data/set/val-"
    ):
        open_shards(["s3://data/set"], cache, split="val")
    with pytest.raises(PatternError, match=r"name its shards, as s3://data/set/train-\{000\.\.999\}\.tar"):
        open_shards(["s3://data/set"], cache)


def test_local_patterns_are_local(directory: Path) -> None:
    assert not isinstance(open_shards([f"{directory}/train-*.tar"]), RemoteShardSet)


def test_shards_come_ahead_of_need_and_in_their_order(bucket: s3fs.S3FileSystem, cache: CacheConfig) -> None:
    """When the first batch of a window is asked for, the next window is on its way, and no other."""
    shards = open_shards(["s3://data/set/train-*.tar"], cache)
    with Stream(shards, replace(CONFIG, batch_size=1)) as stream:
        rows = [int(batch.rows[0]) for batch in stream.epoch()]
    order = list(dict.fromkeys(shards.rows["shard"][rows].tolist()))
    fresh = replace(cache, home=cache.home.parent / "fresh")
    with Stream(open_shards(["s3://data/set/train-*.tar"], fresh), replace(CONFIG, batch_size=1)) as stream:
        batches = stream.epoch()
        next(batches)
        deadline = time.monotonic() + 30
        while len(cached(fresh)) < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.2)
        assert cached(fresh) <= set(order[:4])
        assert len(cached(fresh)) >= 3
        assert len(list(batches)) == 29


def test_a_cache_of_two_windows_is_enough(bucket: s3fs.S3FileSystem, directory: Path, cache: CacheConfig) -> None:
    sizes = sorted(path.stat().st_size for path in directory.glob("*.tar"))
    bounded = replace(cache, max_bytes=sum(sizes[-4:]))
    shards = open_shards(["s3://data/set/train-*.tar"], bounded)
    assert contents(shards, CONFIG) == contents(open_local_shards([f"{directory}/train-*.tar"]), CONFIG)
    assert sum(path.stat().st_size for path in bounded.shards.glob("*.tar*")) <= bounded.max_bytes


def test_windows_are_the_default_and_evaluation_reads_in_order(
    bucket: s3fs.S3FileSystem, directory: Path, cache: CacheConfig
) -> None:
    """Both go with a cache that cannot hold all shards."""
    sizes = sorted(path.stat().st_size for path in directory.glob("*.tar"))
    shards = open_shards(["s3://data/set/train-*.tar"], replace(cache, max_bytes=sum(sizes[-4:])))
    local = open_local_shards([f"{directory}/train-*.tar"])
    assert contents(shards, replace(CONFIG, order="auto")) == contents(local, CONFIG)
    ordered = replace(CONFIG, order="auto", shuffle=False, crop="none", last="pad")
    assert contents(shards, ordered) == contents(local, ordered)


@pytest.mark.parametrize(("order", "needs"), [("window", "windows of 2 shards"), ("global", "a global order")])
def test_a_cache_that_is_too_small_is_refused(
    bucket: s3fs.S3FileSystem, cache: CacheConfig, order: str, needs: str
) -> None:
    shards = open_shards(["s3://data/set/train-*.tar"], replace(cache, max_bytes=10_000))
    with pytest.raises(AlexnetError, match=rf"{needs} need \d+; raise ALEXNET_CACHE_GIB"):
        Stream(shards, replace(CONFIG, order=order))  # type: ignore[arg-type]


def test_damage_names_url_and_key(bucket: s3fs.S3FileSystem, directory: Path, cache: CacheConfig) -> None:
    shards = open_shards(["s3://data/set/train-*.tar"], cache)
    rows = np.array(shards.rows)
    rows["crc32"][6] += 1
    with (
        Stream(replace(shards, rows=rows), CONFIG) as stream,
        pytest.raises(AlexnetError, match=r"^s3://data/set/train-001.tar, train0006: crc32"),
    ):
        list(stream.epoch())


@pytest.mark.parametrize("child_process", [False, True])
def test_a_shard_that_vanishes(bucket: s3fs.S3FileSystem, cache: CacheConfig, child_process: bool) -> None:
    shards = open_shards(["s3://data/set/train-000.tar"], cache)
    assert isinstance(shards, RemoteShardSet)
    source = replace(shards.source, urls=("s3://data/set/gone-000.tar",))
    config = replace(CONFIG, child_process=child_process, quarantine=5)
    with (
        Stream(replace(shards, source=source), config) as stream,
        pytest.raises(AlexnetError, match=r"^s3://data/set/gone-000.tar: not there .*; upload it"),
    ):
        list(stream.epoch())


def test_refused_at_the_start(bucket: s3fs.S3FileSystem, directory: Path, cache: CacheConfig) -> None:
    first = (directory / "train-000.tar").read_bytes()
    for name in ("train.index.npy", "train.manifest.json", *(f"train-00{number}.tar" for number in range(1, 6))):
        bucket.put_file(str(directory / name), f"data/cut/{name}")
    bucket.pipe_file("data/cut/train-000.tar", first[:-512])
    wrong = {
        "s3://data/cut/train-*.tar": rf"train-000.tar: {len(first) - 512} bytes, expected {len(first)}",
        "s3://data/set/train-{000..006}.tar": "train-006.tar: no such shard",
        "s3://data/set/val-000.tar": "val.manifest.json: not there",
        "s3://data/set/val-*.tar": "nothing there matches",
        "s3://nowhere/train-000.tar": "not there",
        "s3://data/set/train-{0..}.tar": "unreadable shard pattern",
    }
    for pattern, message in wrong.items():
        with pytest.raises(AlexnetError, match=message) as error:
            open_shards([pattern], cache)
        assert "\n" not in str(error.value)


def test_mixed_and_twice(bucket: s3fs.S3FileSystem, directory: Path, cache: CacheConfig) -> None:
    with pytest.raises(PatternError, match="local and remote"):
        open_shards(["s3://data/set/train-000.tar", f"{directory}/train-001.tar"], cache)
    with pytest.raises(PatternError, match="named twice"):
        open_shards(["s3://data/set/train-000.tar", "s3://data/set/train-*.tar"], cache)


def test_https_style_servers(directory: Path, cache: CacheConfig) -> None:
    """A plain web server without ranges and listings."""
    program = [sys.executable, "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(directory)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as server:
        assert server.stdout is not None
        port = server.stdout.readline().decode().partition(" port ")[2].split()[0]
        try:
            shards = open_shards([f"http://127.0.0.1:{port}/train-{{000..005}}.tar"], cache)
            assert contents(shards, CONFIG) == contents(open_local_shards([f"{directory}/train-*.tar"]), CONFIG)
            with pytest.raises(PatternError, match="train-006.tar: no such shard"):
                open_shards([f"http://127.0.0.1:{port}/train-{{000..006}}.tar"], cache)
        finally:
            server.terminate()


def test_a_run_finds_statistics_and_validation_shards_beside_remote_ones(
    bucket: s3fs.S3FileSystem, make_run: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALEXNET_CACHE", str(tmp_path / "cache"))
    make_run(tmp_path / "local")
    for path in (tmp_path / "local").iterdir():
        bucket.put_file(str(path), f"data/run/{path.name}")
    data = open_run_data(["s3://data/run/train-{000..001}.tar"], (), None)
    assert data.val is not None
    assert isinstance(data.val, RemoteShardSet)
    local = open_run_data([f"{tmp_path}/local/train-*.tar"], (), None)
    assert local.val is not None
    assert (data.train.fingerprint, data.val.fingerprint) == (local.train.fingerprint, local.val.fingerprint)
    assert np.array_equal(data.stats.mean_image_hwc, local.stats.mean_image_hwc)
    bucket.rm("data/run/val.manifest.json")
    assert open_run_data(["s3://data/run/train-{000..001}.tar"], (), None).val is None
    bucket.rm("data/run/stats.npz")
    with pytest.raises(
        AlexnetError, match=r"s3://data/run/stats.npz: no statistics .* give --stats FILE, or .*compute-stats"
    ):
        open_run_data(["s3://data/run/train-{000..001}.tar"], (), None)
