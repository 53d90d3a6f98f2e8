"""Streams of remote shards in trouble: stopped, with copies that change, with shards that fail, by odd addresses."""

import errno
import hashlib
import logging
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alexnet_remote.cacheconfig import CacheConfig
from alexnet_remote.outcome import LocalTroubleError
from alexnet_remote.remoteset import RemoteShardSet, file_beside, open_shards
from alexnet_remote.stop import Stop, StoppedError
from alexnet_remote.tries import Patience, RemoteFileDeniedError, RemoteFileTroubleError
from alexnet_shards.errors import AlexnetError, FileError
from alexnet_shards.manifest import load_manifest, save_manifest
from alexnet_stream.stream import Stream, StreamConfig
from alexnet_train.rundata import open_run_data

CONFIG = StreamConfig(batch_size=4, seed=8, threads=4, last="keep")
ONE_LINE = r"[^\n]*$"
AT_ONCE_SECONDS = 120  # a busy machine takes some; whoever waited for the server would wait for 300


@pytest.fixture
def server(tmp_path: Path, make_run: Callable[..., str], fault_server: Callable[..., Any]) -> Any:
    make_run(tmp_path / "set", (6, 5, 7))
    return fault_server(tmp_path / "set")


@pytest.fixture
def cache(tmp_path: Path) -> CacheConfig:
    return CacheConfig(
        home=tmp_path / "cache", max_bytes=1 << 30, patience=Patience(retries=2, first_wait_seconds=0.01)
    )


def opened(server: Any, cache: CacheConfig) -> RemoteShardSet:
    shards = open_shards([f"{server.url}/train-{{000..002}}.tar"], cache)
    assert isinstance(shards, RemoteShardSet)
    server.gets.clear()
    return shards


def rows_of(stream: Stream) -> list[int]:
    return sorted(row for batch in stream.epoch() for row in batch.rows.tolist())


def copies(shards: RemoteShardSet) -> list[Path]:
    source = shards.source
    return [source.cache.path_of(url, fact) for url, fact in zip(source.urls, source.facts, strict=True)]


def later(act: Callable[[], None], condition: Callable[[], bool]) -> list[float]:
    """Act once the condition holds; the moment is the list's one item then."""
    moment: list[float] = []

    def work() -> None:
        deadline = time.monotonic() + 60
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.3)
        moment.append(time.monotonic())
        act()

    threading.Thread(target=work, daemon=True).start()
    return moment


@pytest.mark.parametrize("child_process", [False, True])
@pytest.mark.parametrize("kind", ["stall", "503"])
def test_a_stop_ends_a_stream_at_once(server: Any, cache: CacheConfig, kind: str, child_process: bool) -> None:
    """While a download stalls and while the next try is waited for; the place stays that of the last batch taken."""
    patient = replace(cache, patience=Patience(first_wait_seconds=300, silence_seconds=300))
    shards = opened(server, patient)
    server.fail("train-*", kind)
    stop = Stop()
    with Stream(shards, replace(CONFIG, child_process=child_process), stop) as stream:
        stream.load_state_dict({"epoch": 0, "position": 4})
        moment = later(stop.request, lambda: len(server.gets) >= 1)
        with pytest.raises(StoppedError):
            list(stream.epoch())
        assert time.monotonic() - moment[0] < AT_ONCE_SECONDS
        assert stream.state_dict()["position"] == 4


def test_closing_does_not_wait_for_a_stalled_download(server: Any, cache: CacheConfig) -> None:
    shards = opened(server, replace(cache, patience=Patience(silence_seconds=300)))
    server.fail("train-001.tar", "stall")
    with Stream(shards, replace(CONFIG, shuffle=False, batch_size=5, order="window", window_shards=1)) as stream:
        batches = stream.epoch()
        next(batches)
        asked = time.monotonic()
        batches.close()  # type: ignore[attr-defined]
        assert time.monotonic() - asked < AT_ONCE_SECONDS
    assert time.monotonic() - asked < AT_ONCE_SECONDS
    with Stream(shards, CONFIG) as again:  # another stream of the same shards is not stopped
        server.faults.clear()
        assert rows_of(again) == list(range(18))


@pytest.mark.parametrize("child_process", [False, True])
def test_a_program_that_fails_without_closing_ends(
    server: Any, cache: CacheConfig, tmp_path: Path, child_process: bool
) -> None:
    opened(server, cache)
    server.fail("train-001.tar", "stall")
    code = f"""
import sys
sys.path[:] = {sys.path!r}
from alexnet_stream import Stream, StreamConfig, open_shards
shards = open_shards("{server.url}/train-{{000..002}}.tar")
stream = Stream(shards, StreamConfig(batch_size=1, seed=0, shuffle=False, child_process={child_process}))
batches = iter(stream)
next(batches)
sys.exit("the consumer's fault")
"""
    environment = {**os.environ, "ALEXNET_CACHE": str(tmp_path / "other")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=AT_ONCE_SECONDS, check=False
    )
    assert (done.returncode, done.stderr) == (1, "the consumer's fault\n")


def test_a_full_caches_wait_ends(server: Any, cache: CacheConfig, tmp_path: Path) -> None:
    """A shard that waits for the room of another that stalls."""
    largest = max(path.stat().st_size for path in (tmp_path / "set").glob("train-*.tar"))
    narrow = replace(cache, max_bytes=largest, patience=Patience(silence_seconds=300))
    source = opened(server, narrow).source
    server.fail("train-000.tar", "stall")
    stop, ended = Stop(), []

    def fetch(number: int) -> None:
        with pytest.raises(StoppedError):
            source.cache.fetch(source.urls[number], source.facts[number], stop)
        ended.append(time.monotonic())

    threads = [threading.Thread(target=fetch, args=(number,)) for number in (0, 1)]
    threads[0].start()
    deadline = time.monotonic() + 60
    while not server.gets and time.monotonic() < deadline:
        time.sleep(0.02)
    threads[1].start()
    time.sleep(0.5)
    asked = time.monotonic()
    stop.request()
    for thread in threads:
        thread.join(60)
    assert max(ended) - asked < AT_ONCE_SECONDS


def test_a_changed_copy_is_replaced_once(server: Any, cache: CacheConfig, caplog: pytest.LogCaptureFixture) -> None:
    shards = opened(server, cache)
    with Stream(shards, CONFIG) as stream:
        rows_of(stream)
    first, second, _ = copies(shards)
    with first.open("r+b") as file:
        file.write(b"x")
    os.truncate(second, 1000)
    server.gets.clear()
    with caplog.at_level(logging.WARNING), Stream(shards, CONFIG) as stream:
        assert rows_of(stream) == list(range(18))
    assert sorted(name for name, _ in server.gets) == ["train-000.tar", "train-001.tar"]
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert all("has changed since its download and is fetched again" in message for message in messages)
    with first.open("r+b") as file:
        file.write(b"y")
    with (
        Stream(shards, CONFIG) as stream,
        pytest.raises(LocalTroubleError, match=f"^{first}: .*changed again{ONE_LINE}"),
    ):
        rows_of(stream)


def flip_unseen(path: Path, place: int) -> None:
    """Change a byte so that size and time say nothing of it, as a disk does."""
    stat = path.stat()
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.parametrize("child_process", [False, True])
def test_a_rotten_copy_is_replaced_and_its_sample_kept(server: Any, cache: CacheConfig, child_process: bool) -> None:
    shards = opened(server, cache)
    with Stream(shards, CONFIG) as stream:
        rows_of(stream)
    flip_unseen(copies(shards)[1], int(shards.rows["offset"][7]) + 300)
    server.gets.clear()
    with Stream(shards, replace(CONFIG, child_process=child_process)) as stream:
        assert rows_of(stream) == list(range(18))
    assert [name for name, _ in server.gets] == ["train-001.tar"]


def test_verified_copies(server: Any, cache: CacheConfig) -> None:
    """By default size and time are compared; with `verify` each copy is read whole before its first use."""
    shards = opened(server, cache)
    with Stream(shards, CONFIG) as stream:
        rows_of(stream)
    flip_unseen(copies(shards)[0], 100)  # in a header, where no sample's crc32 sees it
    server.gets.clear()
    for verify, gets in ((False, []), (True, ["train-000.tar"])):
        with Stream(opened(server, replace(cache, verify=verify)), CONFIG) as stream:
            assert rows_of(stream) == list(range(18))
        assert [name for name, _ in server.gets] == gets


def test_a_failing_shard_is_fetched_by_one_budget(server: Any, cache: CacheConfig) -> None:
    shards = opened(server, cache)
    server.fail("train-001.tar", "wrong")
    config = replace(CONFIG, batch_size=18, threads=16, quarantine=18)
    with (
        Stream(shards, config) as stream,
        pytest.raises(RemoteFileTroubleError, match=f"^{server.url}/train-001.tar: .* after 3 tries{ONE_LINE}"),
    ):
        rows_of(stream)
    assert server.num_gets("train-001.tar") == 3


def test_a_full_disk_is_no_fault_of_the_network(
    server: Any, cache: CacheConfig, mount_disk: Callable[[int], Path]
) -> None:
    full = replace(cache, home=mount_disk(100_000) / "cache")
    with pytest.raises(FileError, match=f"^{full.home}[^\n]*the disk is full{ONE_LINE}"):
        open_run_data_with(server, full)
    assert max(server.num_gets(name) for name in ("stats.npz", "train-000.tar", "train-001.tar")) <= 1


def open_run_data_with(server: Any, cache: CacheConfig) -> None:
    shards = open_shards([f"{server.url}/train-{{000..002}}.tar"], cache)
    file_beside(shards, "stats.npz")
    with Stream(shards, CONFIG) as stream:
        rows_of(stream)


@pytest.mark.parametrize("kind", ["503", "429", "cut", "sign-in"])
@pytest.mark.parametrize("name", ["train.manifest.json", "val.manifest.json", "val.index.npy", "stats.npz"])
def test_one_fault_changes_nothing(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    """One 503 on val.manifest.json once meant a run without validation."""
    monkeypatch.setenv("ALEXNET_CACHE", str(tmp_path / "cache"))
    server.fail(name, kind, 1)
    data = open_run_data([f"{server.url}/train-{{000..002}}.tar"], (), None)
    assert data.val is not None
    assert (data.train.num_samples, data.val.num_samples) == (18, 11)


@pytest.mark.parametrize(("status", "error"), [("503", RemoteFileTroubleError), ("401", RemoteFileDeniedError)])
def test_no_validation_is_what_a_store_says_and_no_failure(
    server: Any, cache: CacheConfig, monkeypatch: pytest.MonkeyPatch, status: str, error: type[AlexnetError]
) -> None:
    monkeypatch.setattr(CacheConfig, "from_environment", lambda: cache)
    server.fail("val.manifest.json", status)
    with pytest.raises(error, match=f"^{server.url}/val.manifest.json: .*{status}{ONE_LINE}"):
        open_run_data([f"{server.url}/train-{{000..002}}.tar"], (), None)
    for answer, words in (("404", "404"), ("403", "403 .* as this store also answers for what is not there")):
        server.faults.clear()
        server.fail("val.manifest.json", answer, **({"x_amz_request_id": "1"} if answer == "403" else {}))
        said: list[str] = []
        data = open_run_data([f"{server.url}/train-{{000..002}}.tar"], (), None, said.append)
        assert data.val is None
        (line,) = said
        assert line.startswith("no validation set")
        assert re.search(words, line)


@pytest.mark.parametrize("folder", ["we{ird}", "[x]", "a b", "plain"])
def test_odd_folders(
    tmp_path: Path, make_shards: Callable[..., str], fault_server: Callable[..., Any], cache: CacheConfig, folder: str
) -> None:
    make_shards(tmp_path / "plain", (3, 2))
    if folder != "plain":
        (tmp_path / "plain").rename(tmp_path / folder)
    server = fault_server(tmp_path)
    names = "".join(f'<a href="train-00{number}.tar">x</a>' for number in range(2))
    server.listings[f"{folder}/"] = names.encode()
    for pattern in ("train-{000..001}.tar", "train-<000..001>.tar", "train-*.tar", "train-00[01].tar"):
        assert open_shards([f"{server.url}/{folder}/{pattern}"], cache).num_samples == 5


def test_a_query_goes_to_every_file_and_is_not_shown(server: Any, cache: CacheConfig) -> None:
    shards = open_shards([f"{server.url}/train-{{000..002}}.tar?sv=1&sig=s3cr3t"], cache)
    assert shards.num_samples == 18
    assert not [path for path in shards.paths if "s3cr3t" in path]
    server.fail("train-001.tar", "503")
    with Stream(shards, CONFIG) as stream, pytest.raises(RemoteFileTroubleError) as error:
        rows_of(stream)
    assert "train-001.tar" in str(error.value)
    assert "s3cr3t" not in str(error.value)
    assert not [path for path in cache.home.rglob("*") if "s3cr3t" in path.name]


def test_patterns_that_are_refused_say_what_to_write(server: Any, cache: CacheConfig) -> None:
    for pattern, words in {
        "train-00?.tar": "use \\* or a range",
        "train-{0..}.tar": "expected a range like",
        "*/train-000.tar": "in its last part alone",
        "train-*.tar": "a range like",
    }.items():
        with pytest.raises(AlexnetError, match=f"^[^\n]*{words}{ONE_LINE}"):
            open_shards([f"{server.url}/{pattern}"], cache)


def test_too_many_open_files_of_a_download_are_this_machines(
    server: Any, cache: CacheConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = opened(server, cache)

    def refuse(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(socket, "create_connection", refuse)
    with Stream(shards, replace(CONFIG, quarantine=18)) as stream:
        with pytest.raises(LocalTroubleError, match=f"this machine cannot fetch it .*Too many open files{ONE_LINE}"):
            rows_of(stream)
        assert stream.meters["quarantined"] == 0


def test_a_sign_in_page_for_a_shard_is_tried_again(server: Any, cache: CacheConfig) -> None:
    """Also where the shards' sizes are asked for; its size says nothing of the shard."""
    server.fail("train-001.tar", "sign-in", 1)
    with Stream(open_shards([f"{server.url}/train-{{000..002}}.tar"], cache), CONFIG) as stream:
        assert rows_of(stream) == list(range(18))


def test_damage_on_the_way_is_not_an_index(server: Any, cache: CacheConfig, tmp_path: Path) -> None:
    """The manifest knows the index's sha256: a copy of another is fetched again."""
    path = tmp_path / "set" / "train.manifest.json"
    sha256 = hashlib.sha256((tmp_path / "set" / "train.index.npy").read_bytes()).hexdigest()
    save_manifest(path, replace(load_manifest(path), index_sha256=sha256))
    server.fail("train.index.npy", "wrong", 1)
    assert open_shards([f"{server.url}/train-{{000..002}}.tar"], cache).num_samples == 18
    server.fail("train.index.npy", "wrong")
    with pytest.raises(RemoteFileTroubleError, match=f"^{server.url}/train.index.npy: .*sha256{ONE_LINE}"):
        open_shards([f"{server.url}/train-{{000..002}}.tar"], cache)


def test_damaged_statistics_are_named_by_their_address(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALEXNET_CACHE", str(tmp_path / "cache"))
    (tmp_path / "set" / "stats.npz").write_bytes(b"no statistics")
    with pytest.raises(AlexnetError, match=f"^{server.url}/stats.npz: unreadable statistics{ONE_LINE}"):
        open_run_data([f"{server.url}/train-{{000..002}}.tar"], (), None)


def test_an_index_that_is_another_is_named_by_its_address(server: Any, cache: CacheConfig, tmp_path: Path) -> None:
    rows = np.load(tmp_path / "set" / "train.index.npy")
    np.save(tmp_path / "set" / "train.index.npy", rows[:-1])
    with pytest.raises(AlexnetError, match=f"^{server.url}/train.index.npy: {ONE_LINE}"):
        open_shards([f"{server.url}/train-{{000..002}}.tar"], cache)
    (tmp_path / "set" / "train.manifest.json").write_bytes(b'{"format"')
    with pytest.raises(AlexnetError, match=f"^{server.url}/train.manifest.json: {ONE_LINE}"):
        open_shards([f"{server.url}/train-{{000..002}}.tar"], cache)
