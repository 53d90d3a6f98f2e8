"""The cache against a real web server that breaks, lies and dawdles, and against killed processes."""

import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from pathlib import Path

import numpy as np
import pytest
from fsspec.registry import _registry

from alexnet_remote.cache import ShardCache
from alexnet_remote.cacheconfig import CacheConfig
from alexnet_remote.tries import Patience
from alexnet_shards.errors import AlexnetError
from alexnet_shards.manifest import ShardFact

SIZE = 200_000


def send_slowly(file: BufferedIOBase, body: bytes) -> None:
    for begin in range(0, SIZE, SIZE // 10):
        file.write(body[begin : begin + SIZE // 10])
        time.sleep(0.3)


class Store:
    """A web server of files; `faults` are what the next GETs do instead of answering well."""

    def __init__(self) -> None:
        self.files = {f"/s-{number}.tar": np.random.default_rng(number).bytes(SIZE) for number in range(6)}
        self.faults: list[str] = []
        self.gets: list[str] = []
        store = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.answer(send=False)

            def do_GET(self) -> None:
                store.gets.append(self.path)
                self.answer(send=True)

            def answer(self, send: bool) -> None:
                content = store.files.get(self.path)
                fault = store.faults.pop(0) if store.faults and send else ""
                status = 404 if content is None else 500 if fault == "500" else 200
                body = content if content is not None and status == 200 else b""
                if fault == "long":
                    body += b"more" * 1000
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if not send:
                    return
                if fault == "cut":
                    self.wfile.write(body[: SIZE // 2])
                    self.close_connection = True
                elif fault == "wrong":
                    self.wfile.write(body[:-1] + b"?")
                elif fault == "slow":
                    send_slowly(self.wfile, body)
                else:
                    self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self, number: int) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/s-{number}.tar"

    def fact(self, number: int) -> ShardFact:
        content = self.files[f"/s-{number}.tar"]
        sha256 = hashlib.sha256(content).hexdigest()
        return ShardFact(name=f"s-{number}.tar", samples=1, bytes=len(content), sha256=sha256)


@pytest.fixture
def store() -> Iterator[Store]:
    server = Store()
    yield server
    server.server.shutdown()
    server.server.server_close()


@pytest.fixture
def cache(tmp_path: Path) -> ShardCache:
    return ShardCache(
        config=CacheConfig(
            home=tmp_path / "cache", max_bytes=3 * SIZE, patience=Patience(retries=3, first_wait_seconds=0.01)
        )
    )


def content_of(cache: ShardCache, store: Store, number: int) -> bytes:
    descriptor = cache.open(store.url(number), store.fact(number))
    try:
        return os.pread(descriptor, 2 * SIZE, 0)
    finally:
        os.close(descriptor)


def names(cache: ShardCache) -> list[str]:
    return sorted(path.name.partition("-")[2] for path in cache.config.shards.iterdir())


def test_fetched_once(cache: ShardCache, store: Store) -> None:
    for _ in range(3):
        assert content_of(cache, store, 0) == store.files["/s-0.tar"]
    assert store.gets == ["/s-0.tar"]
    assert names(cache) == ["s-0.tar"]


def test_the_oldest_use_is_evicted(cache: ShardCache, store: Store) -> None:
    for number in (0, 1, 2, 0, 3):
        content_of(cache, store, number)
        time.sleep(0.01)
    assert names(cache) == ["s-0.tar", "s-2.tar", "s-3.tar"]
    assert content_of(cache, store, 1) == store.files["/s-1.tar"]
    assert len(store.gets) == 5


def test_the_bound_holds_with_many_threads(cache: ShardCache, store: Store) -> None:
    """Downloads under way count too; a reader of an evicted shard keeps it."""
    kept = cache.open(store.url(5), store.fact(5))
    sizes, done = [], threading.Event()

    def watch() -> None:
        while not done.is_set():
            total = 0
            for path in cache.config.shards.iterdir():
                try:
                    total += path.stat().st_size
                except FileNotFoundError:
                    continue
            sizes.append(total)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda number: content_of(cache, store, number), [0, 1, 2, 3, 4, 0, 1, 2, 3, 4] * 3))
    done.set()
    watcher.join()
    assert results == [store.files[f"/s-{number}.tar"] for number in [0, 1, 2, 3, 4, 0, 1, 2, 3, 4] * 3]
    # A listing is not one moment: a file may be seen before its eviction and its successor after.
    assert sorted(sizes)[len(sizes) // 2] <= 3 * SIZE
    assert sum(path.stat().st_size for path in cache.config.shards.iterdir()) <= 3 * SIZE
    assert os.pread(kept, 2 * SIZE, 0) == store.files["/s-5.tar"]
    os.close(kept)


@pytest.mark.parametrize("faults", [["500"], ["cut"], ["wrong"], ["cut", "500", "wrong"]])
def test_faults_are_tried_again(
    cache: ShardCache, store: Store, faults: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    store.faults = list(faults)
    assert content_of(cache, store, 2) == store.files["/s-2.tar"]
    assert len(store.gets) == len(caplog.records) + 1 == len(faults) + 1


@pytest.mark.parametrize("fault", ["500", "cut", "wrong"])
def test_faults_that_stay_are_one_line_and_leave_nothing(cache: ShardCache, store: Store, fault: str) -> None:
    store.faults = [fault] * 4
    with pytest.raises(AlexnetError, match=rf"^{re.escape(store.url(2))}: .*, after 4 tries; [^\n]*$"):
        content_of(cache, store, 2)
    assert names(cache) == []
    assert len(store.gets) == 4
    # Whoever else has waited for it is told the same, and does not try in turn.
    with pytest.raises(AlexnetError, match="after 4 tries"):
        content_of(cache, store, 2)
    assert len(store.gets) == 4
    assert content_of(ShardCache(config=cache.config), store, 2) == store.files["/s-2.tar"]


def test_a_missing_file_is_not_tried_again(cache: ShardCache, store: Store) -> None:
    fact = store.fact(0)
    del store.files["/s-0.tar"]
    with pytest.raises(AlexnetError, match=r"s-0.tar: not there \(404"):
        cache.fetch(store.url(0), fact)
    assert len(store.gets) <= 1
    assert names(cache) == []


def test_a_shard_larger_than_the_cache(cache: ShardCache, store: Store) -> None:
    small = ShardCache(config=replace(cache.config, max_bytes=SIZE - 1))
    with pytest.raises(AlexnetError, match="do not fit the cache .*ALEXNET_CACHE_GIB"):
        small.fetch(store.url(0), store.fact(0))
    assert names(small) == []


def test_more_at_once_than_fit_take_turns(cache: ShardCache, store: Store) -> None:
    """Room that a download under way has taken is waited for."""
    narrow = ShardCache(config=replace(cache.config, max_bytes=SIZE))
    store.faults = ["slow"]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda number: content_of(narrow, store, number), range(4)))
    assert results == [store.files[f"/s-{number}.tar"] for number in range(4)]
    assert len(names(narrow)) == 1


def test_an_answer_that_is_too_long_leaves_no_tail(cache: ShardCache, store: Store) -> None:
    store.faults = ["long"]
    assert content_of(cache, store, 1) == store.files["/s-1.tar"]
    assert len(store.gets) == 2


def test_new_content_at_the_same_address(cache: ShardCache, store: Store) -> None:
    content_of(cache, store, 0)
    store.files["/s-0.tar"] = store.files["/s-1.tar"]
    assert content_of(cache, store, 0) == store.files["/s-1.tar"]


FETCH = """
import sys
from pathlib import Path
from alexnet_shards.manifest import ShardFact
from alexnet_remote.cache import ShardCache
from alexnet_remote.cacheconfig import CacheConfig
from alexnet_remote.tries import Patience
directory, url, name, size, sha256 = sys.argv[1:]
cache = ShardCache(config=CacheConfig(home=Path(directory), max_bytes=600000))
print("begin", flush=True)
cache.fetch(url, ShardFact(name=name, samples=1, bytes=int(size), sha256=sha256))
print("end", flush=True)
"""


def fetching_process(cache: ShardCache, store: Store, number: int) -> "subprocess.Popen[bytes]":
    fact = store.fact(number)
    arguments = [str(cache.config.home), store.url(number), fact.name, str(fact.bytes), fact.sha256]
    return subprocess.Popen([sys.executable, "-c", FETCH, *arguments], stdout=subprocess.PIPE)


def test_processes_share_one_download(cache: ShardCache, store: Store) -> None:
    store.faults = ["slow"]
    processes = [fetching_process(cache, store, 3) for _ in range(3)]
    for process in processes:
        assert process.communicate(timeout=60)[0] == b"begin\nend\n"
    assert store.gets == ["/s-3.tar"]
    assert names(cache) == ["s-3.tar"]


def test_a_killed_download_leaves_no_lock(cache: ShardCache, store: Store) -> None:
    store.faults = ["slow"]
    with fetching_process(cache, store, 3) as process:
        deadline = time.monotonic() + 30
        while not store.gets and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert names(cache) == ["s-3.tar.part"]
    for number in (0, 1, 2):
        content_of(cache, store, number)
    assert names(cache) == ["s-0.tar", "s-1.tar", "s-2.tar"]
    assert content_of(cache, store, 3) == store.files["/s-3.tar"]
    assert "s-3.tar.part" not in names(cache)


def test_a_part_of_a_killed_download_is_taken_over(cache: ShardCache, store: Store) -> None:
    part = cache.path_of(store.url(3), store.fact(3))
    part.parent.mkdir(parents=True)
    part.with_name(part.name + ".part").write_bytes(b"half" * 1000)
    assert content_of(cache, store, 3) == store.files["/s-3.tar"]
    assert names(cache) == ["s-3.tar"]


def test_strangers_stay(cache: ShardCache, store: Store) -> None:
    """What the cache did not write is neither evicted nor counted, wherever it lies and whatever its name."""
    home = cache.config.home
    content_of(cache, store, 0)
    own_name = cache.path_of(store.url(1), store.fact(1)).name
    strangers = [
        home / "thesis.tex",
        home / "photos" / "cat.jpg",
        home / f"{'0' * 24}-train-000.tar",
        home / own_name,  # what an earlier version may have left
        cache.config.shards / "train-000.tar",
        cache.config.shards / "notes.part",
        cache.config.shards / f"{'0123456789abcdef' * 2}-train-000.tar",
        cache.config.shards / f"{own_name}.bak",
    ]
    for path in strangers:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"mine" * SIZE)
        os.utime(path, (0, 0))
    (cache.config.shards / own_name).symlink_to(home / "thesis.tex")
    for number in (2, 3, 4, 5, 4, 3):
        content_of(cache, store, number)
    for path in strangers:
        assert path.read_bytes() == b"mine" * SIZE, path
    assert (cache.config.shards / own_name).is_symlink()
    assert len(store.gets) == 5


def test_a_linked_cache_is_refused(tmp_path: Path, store: Store) -> None:
    (tmp_path / "elsewhere").mkdir()
    for linked in ("home", "home/remote", "home/remote/shards"):
        path = tmp_path / linked
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(tmp_path / "elsewhere")
        cache = ShardCache(config=CacheConfig(home=tmp_path / "home", max_bytes=3 * SIZE))
        with pytest.raises(AlexnetError, match=rf"{linked}: is a link to .*elsewhere; [^\n]*$"):
            cache.fetch(store.url(0), store.fact(0))
        path.unlink()
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_cache_that_cannot_be_made(tmp_path: Path, store: Store) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = ShardCache(config=CacheConfig(home=tmp_path / "file" / "cache", max_bytes=3 * SIZE))
    with pytest.raises(AlexnetError, match=r"^.*/file/cache: cannot be made [^\n]*$"):
        cache.fetch(store.url(0), store.fact(0))


def test_protocols_that_are_not_there(cache: ShardCache, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    for protocol in ("gs", "gcs"):  # an earlier test may have had it
        monkeypatch.delitem(_registry, protocol, raising=False)
    for url in ("nothing://x/s-0.tar", "gs://bucket/s-0.tar"):
        with pytest.raises(AlexnetError, match="expected https://|is not installed"):
            cache.fetch(url, store.fact(0))
