"""C sources are compiled once and kept; without a compiler or with a bad source the caller gets None."""

import os
import pwd
from pathlib import Path

import pytest

from alexnet_shards.errors import AlexnetError
from alexnet_shards.native import cache_home, load_library


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("ALEXNET_KERNELS", raising=False)
    return tmp_path / "cache" / "alexnet-replication" / "libraries"


def write_source(path: Path, value: int = 7) -> Path:
    """A C source of one function."""
    path.write_text(f"int answer(void) {{ return {value}; }}\n")
    return path


def test_a_source_is_compiled_once_and_again_when_it_changes(tmp_path: Path, cache: Path) -> None:
    library = load_library(write_source(tmp_path / "a.c"))
    assert library is not None
    assert library.answer() == 7
    (built,) = cache.iterdir()
    stamp = built.stat().st_mtime_ns
    load_library.cache_clear()
    load_library(tmp_path / "a.c")
    assert built.stat().st_mtime_ns == stamp
    load_library.cache_clear()
    changed = load_library(write_source(tmp_path / "a.c", 8))
    assert changed is not None
    assert changed.answer() == 8
    assert len(list(cache.iterdir())) == 2


def test_what_cannot_be_built_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    (tmp_path / "bad.c").write_text("this is no C")
    assert load_library(tmp_path / "bad.c") is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert load_library(write_source(tmp_path / "b.c")) is None
    monkeypatch.setenv("ALEXNET_KERNELS", "off")
    assert load_library(write_source(tmp_path / "c.c")) is None
    assert not list(cache.glob("*.so"))


def test_one_cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_home() == tmp_path / "alexnet-replication"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_home() == tmp_path / ".cache" / "alexnet-replication"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_home() == tmp_path / ".cache" / "alexnet-replication"


def test_a_user_without_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_001)
    with pytest.raises(KeyError):
        pwd.getpwuid(os.getuid())
    with pytest.raises(AlexnetError, match=r"^this user has no home directory for a cache; name a folder in XDG_CACHE"):
        cache_home()
    assert load_library(write_source(tmp_path / "a.c")) is None
