"""Copies of small files: any number of processes at once, bounded, and nothing left of killed ones."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alexnet_remote.beside import fetch_beside
from alexnet_remote.cacheconfig import CacheConfig
from alexnet_remote.tries import Patience, RemoteFileTroubleError
from alexnet_shards.address import Address
from alexnet_shards.errors import FileError


@pytest.fixture
def config(tmp_path: Path) -> CacheConfig:
    return CacheConfig(
        home=tmp_path / "cache", max_bytes=1 << 30, patience=Patience(retries=1, first_wait_seconds=0.01)
    )


def fetch_many(url: str, config: CacheConfig) -> int:
    return sum(len(fetch_beside(Address.parse(url), config, 1 << 20).read_bytes()) for _ in range(20))


def test_many_processes_at_once(fault_server: Callable[..., Any], tmp_path: Path, config: CacheConfig) -> None:
    (tmp_path / "x.json").write_bytes(b"content" * 1000)
    server = fault_server(tmp_path)
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        sizes = pool.starmap(fetch_many, [(f"{server.url}/x.json", config)] * 3)
    assert sizes == [20 * 7000] * 3
    assert [path.name for path in config.meta.rglob("*") if path.is_file()] == ["x.json"]


def test_bounded(fault_server: Callable[..., Any], tmp_path: Path, config: CacheConfig) -> None:
    (tmp_path / "x.json").write_bytes(b"content")
    server = fault_server(tmp_path)
    server.fail("x.json", "endless")
    with pytest.raises(RemoteFileTroubleError, match="more than 1,000 bytes"):
        fetch_beside(Address.parse(f"{server.url}/x.json"), config, 1000)
    assert not [path for path in config.meta.rglob("*") if path.is_file()]


def test_a_full_disk(
    fault_server: Callable[..., Any], tmp_path: Path, config: CacheConfig, mount_disk: Callable[[int], Path]
) -> None:
    (tmp_path / "x.json").write_bytes(b"content" * 100_000)
    server = fault_server(tmp_path)
    full = CacheConfig(home=mount_disk(1 << 16) / "cache", max_bytes=1 << 30)
    with pytest.raises(FileError, match=f"^{full.meta}[^\n]*cannot be written \\(the disk is full\\)[^\n]*$"):
        fetch_beside(Address.parse(f"{server.url}/x.json"), full, 1 << 20)
    assert server.num_gets("x.json") == 1
