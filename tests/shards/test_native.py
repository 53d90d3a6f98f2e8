"""C sources are compiled once and kept; without a compiler or with a bad source the caller gets None."""

import ctypes
import logging
import os
import pwd
import stat
from pathlib import Path

import pytest

from alexnet_shards.errors import AlexnetError
from alexnet_shards.native import Signatures, cache_home, load_library

ANSWER: Signatures = (("answer", ctypes.c_int, ()),)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("ALEXNET_KERNELS", raising=False)
    return tmp_path / "cache" / "alexnet-replication" / "libraries"


def write_source(path: Path, value: int = 7) -> Path:
    """A C source of one function."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"int answer(void) {{ return {value}; }}\n")
    return path


def test_a_source_is_compiled_once_and_again_when_it_changes(tmp_path: Path, cache: Path) -> None:
    library = load_library(write_source(tmp_path / "a.c"), ANSWER)
    assert library is not None
    assert library.answer() == 7
    (built,) = cache.iterdir()
    stamp = built.stat().st_mtime_ns
    load_library.cache_clear()
    load_library(tmp_path / "a.c", ANSWER)
    assert built.stat().st_mtime_ns == stamp
    load_library.cache_clear()
    changed = load_library(write_source(tmp_path / "a.c", 8), ANSWER)
    assert changed is not None
    assert changed.answer() == 8
    assert len(list(cache.iterdir())) == 2


def test_what_cannot_be_built_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    (tmp_path / "bad.c").write_text("this is no C")
    assert load_library(tmp_path / "bad.c", ANSWER) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert load_library(write_source(tmp_path / "b.c"), ANSWER) is None
    monkeypatch.setenv("ALEXNET_KERNELS", "off")
    assert load_library(write_source(tmp_path / "c.c"), ANSWER) is None
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
    assert load_library(write_source(tmp_path / "a.c"), ANSWER) is None


def answer(path: Path) -> int:
    """What the library of a source answers, loaded anew."""
    load_library.cache_clear()
    library = load_library(path, ANSWER)
    assert library is not None
    return int(library.answer())


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_the_cache_is_this_users_alone(tmp_path: Path, cache: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        assert answer(write_source(tmp_path / "a.c")) == 7
    finally:
        os.umask(before)
    (built,) = cache.iterdir()
    assert stat.S_IMODE(built.stat().st_mode) == 0o600
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (cache, cache.parent)] == [0o700, 0o700]


def test_a_file_that_is_not_what_was_written_is_built_again(tmp_path: Path, cache: Path) -> None:
    source = write_source(tmp_path / "a.c")
    assert answer(source) == 7
    (built,) = cache.iterdir()
    whole = built.read_bytes()
    other = write_source(tmp_path / "other" / "a.c", 8)
    assert answer(other) == 8
    (foreign,) = (path for path in cache.iterdir() if path != built)
    for content in (whole[: len(whole) // 2], b"", whole[:-1], bytes(len(whole)), b"x" + whole[1:]):
        built.write_bytes(content)
        assert answer(source) == 7
        assert built.read_bytes() == whole
    built.chmod(0o666)
    assert answer(source) == 7
    assert stat.S_IMODE(built.stat().st_mode) == 0o600
    built.unlink()
    built.symlink_to(foreign)
    assert answer(source) == 7
    assert not built.is_symlink()


def test_a_library_without_the_function_is_built_again(tmp_path: Path, cache: Path) -> None:
    source = write_source(tmp_path / "a.c")
    assert answer(source) == 7
    (built,) = cache.iterdir()
    whole = built.read_bytes()
    (tmp_path / "b.c").write_text("int another(void) { return 1; }\n")
    assert load_library(tmp_path / "b.c", (("another", ctypes.c_int, ()),)) is not None
    (foreign,) = (path for path in cache.iterdir() if path != built)
    built.write_bytes(foreign.read_bytes())
    assert answer(source) == 7
    assert built.read_bytes() == whole


def test_a_cache_of_somebody_else_is_not_used(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache.mkdir(parents=True)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with caplog.at_level(logging.WARNING):
        assert answer(write_source(tmp_path / "a.c")) == 7
    assert "others may write there" in caplog.text
    assert not list(cache.iterdir())


def test_a_cache_that_cannot_be_made_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "x"))
    load_library.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert load_library(write_source(tmp_path / "a.c"), ANSWER) is None
    (record,) = caplog.records
    assert "a.c cannot be built" in record.getMessage()


def test_the_compilers_message_is_in_the_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "bad.c").write_text("int answer(void) { return nothing_of_that_name; }")
    with caplog.at_level(logging.WARNING):
        assert load_library(tmp_path / "bad.c", ANSWER) is None
        assert load_library(tmp_path / "bad.c", ANSWER) is None
    (record,) = caplog.records
    assert "nothing_of_that_name" in record.getMessage()
    assert "\n" not in record.getMessage()
