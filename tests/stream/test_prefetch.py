"""What is fetched ahead, and that a stop ends it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alexnet_remote.cacheconfig import CacheConfig
from alexnet_remote.remoteset import RemoteShards, open_shards
from alexnet_remote.stop import Stop
from alexnet_stream.prefetch import NoPrefetch, Prefetcher, prefetcher, source_of
from alexnet_stream.reader import LocalShards


@pytest.fixture
def opened(
    tmp_path: Path, make_shards: Callable[..., str], fault_server: Callable[..., Any]
) -> tuple[RemoteShards, Any]:
    make_shards(tmp_path / "set", (2,) * 6)
    server = fault_server(tmp_path / "set")
    config = CacheConfig(home=tmp_path / "cache", max_bytes=1 << 30)
    source = source_of(open_shards([f"{server.url}/train-{{000..005}}.tar"], config), Stop())
    assert isinstance(source, RemoteShards)
    server.gets.clear()
    return source, server


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert condition()


def test_ahead_and_no_further(opened: tuple[RemoteShards, Any]) -> None:
    source, server = opened
    ahead = prefetcher(source, 2)
    assert isinstance(ahead, Prefetcher)
    ahead.plan(np.repeat(np.arange(6), 2), np.arange(12), 0)
    ahead.advance(0)
    wait_until(lambda: len(server.gets) == 3)
    ahead.advance(2)
    wait_until(lambda: len(server.gets) == 4)
    assert {name for name, _ in server.gets} == {f"train-00{number}.tar" for number in range(4)}
    source.stop.request()
    ahead.close()


def test_a_stop_ends_it(opened: tuple[RemoteShards, Any]) -> None:
    source, server = opened
    server.fail("train-*", "stall")
    ahead = prefetcher(source, 2)
    ahead.plan(np.repeat(np.arange(6), 2), np.arange(12), 0)
    ahead.advance(0)
    wait_until(lambda: len(server.gets) >= 3)
    source.stop.request()
    asked = time.monotonic()
    ahead.close()
    assert time.monotonic() - asked < 60  # the server is silent for 300


def test_local_shards_need_none() -> None:
    assert isinstance(prefetcher(LocalShards(("a.tar",)), 2), NoPrefetch)
