"""A file appears whole or not at all, also when its writer is killed."""

import errno
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from alexnet_shards.errors import FileError, file_error
from alexnet_shards.files import (
    TEMPORARY_SUFFIX,
    append_bytes,
    atomic_file,
    link_or_copy,
    output_path,
    own_directory,
    sync_directory,
    write_at,
    write_atomic,
)

KILLED_WRITER = """
import sys, time
from pathlib import Path
from alexnet_shards.files import atomic_file
with atomic_file(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print("written", flush=True)
    time.sleep(60)
"""


def test_write_and_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for content in (b"one", b"", b"longer than before"):
        write_atomic(path, content)
        assert path.read_bytes() == content
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


def test_nothing_is_visible_before_the_end(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_atomic(path, b"old")
    with atomic_file(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "x"
    write_atomic(path, b"old")
    with pytest.raises(error), atomic_file(path) as file:
        file.write(b"new")
        raise error
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


def test_a_killed_writer_leaves_the_old_file_and_the_next_one_clears_up(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_atomic(path, b"old")
    with subprocess.Popen([sys.executable, "-c", KILLED_WRITER, str(path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"written\n"
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert path.read_bytes() == b"old"
    (left,) = tmp_path.glob(f"x.*{TEMPORARY_SUFFIX}")
    assert left.read_bytes() == b"half"
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert not left.exists()


def test_a_living_writer_keeps_its_temporary(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with atomic_file(path) as first:
        first.write(b"first")
        write_atomic(path, b"second")
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first"


def test_the_temporarys_name_cannot_be_foretold_and_links_at_it_are_nobodys_way(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    for name in ("x.tmp", "x.0123456789abcdef.tmp"):
        (tmp_path / name).symlink_to(victim)
    write_atomic(tmp_path / "x", b"new")
    assert (tmp_path / "x").read_bytes() == b"new"
    assert victim.read_bytes() == b"precious"


def test_a_link_at_the_name_is_replaced_by_the_file(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "x"
    victim.write_bytes(b"precious")
    path.symlink_to(victim)
    write_atomic(path, b"new")
    assert not path.is_symlink()
    assert (path.read_bytes(), victim.read_bytes()) == (b"new", b"precious")


@pytest.mark.parametrize(("umask", "shared"), [(0o022, 0o644), (0o077, 0o600), (0, 0o666)])
def test_modes(tmp_path: Path, umask: int, shared: int) -> None:
    before = os.umask(umask)
    try:
        write_atomic(tmp_path / "shared", b"")
        write_atomic(tmp_path / "private", b"", private=True)
        own_directory(tmp_path / "parent" / "folder", private=True)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "shared").stat().st_mode) == shared
    assert stat.S_IMODE((tmp_path / "private").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "parent").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "parent" / "folder").stat().st_mode) == 0o700


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "to-fifo").symlink_to("fifo")
    for path, words in (
        (tmp_path / "folder", "is a folder"),
        (tmp_path / "fifo", "is a device, a pipe"),
        (Path("/dev/null"), "is a device, a pipe"),
    ):
        for write in (write_atomic, append_bytes):
            with pytest.raises(FileError, match=f"^{path}: {words}"):
                write(path, b"x")
        with pytest.raises(FileError, match=f"^{path}: {words}"):
            output_path(path)
    with pytest.raises(FileError, match="to-fifo: is a device, a pipe"):
        output_path(tmp_path / "to-fifo")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_an_output_that_the_user_named(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to("disk/real")
    assert output_path(tmp_path / "out") == tmp_path / "disk" / "real"
    write_atomic(output_path(tmp_path / "out"), b"1")
    write_atomic(output_path(tmp_path / "out"), b"22")
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "disk" / "real").read_bytes() == b"22"
    for same in ("out", "disk/real", "disk/../out"):
        with pytest.raises(FileError, match=f"{same}: is the input .*/disk/real and would be overwritten"):
            output_path(tmp_path / same, [tmp_path / "missing", tmp_path / "disk" / "real"])
    assert output_path(tmp_path / "new", [tmp_path / "out"]) == tmp_path / "new"


def test_names_of_255_bytes(tmp_path: Path) -> None:
    for name in ("n" * 255, "ü" * 127):
        write_atomic(tmp_path / name, b"x")
        assert (tmp_path / name).read_bytes() == b"x"
    with pytest.raises(FileError, match=r"n: cannot be written \(the name is too long\); take a shorter one"):
        write_atomic(tmp_path / ("n" * 256), b"x")


def test_a_missing_directory_is_a_line(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"missing/x: cannot be written \(no such file or folder\); check the path$"):
        write_atomic(tmp_path / "missing" / "x", b"")
    with pytest.raises(FileError, match="missing: cannot be written"):
        sync_directory(tmp_path / "missing")


def test_a_full_disk_is_a_line_whatever_the_writer_makes_of_it(mount_disk: Callable[[int], Path]) -> None:
    disk = mount_disk(64 << 10)
    line = f"^{disk / 'x'}: cannot be written \\(the disk is full\\); free space, then start the same command again$"
    with pytest.raises(FileError, match=line):
        write_atomic(disk / "x", bytes(1 << 20))
    with pytest.raises(FileError, match=line), atomic_file(disk / "x") as file:
        np.save(file, np.zeros(1 << 17))
    with pytest.raises(FileError, match=line), atomic_file(disk / "x") as file:
        try:
            file.write(bytes(1 << 20))
        except OSError as error:
            raise RuntimeError("as torch has it") from error
    assert not list(disk.iterdir())


def test_a_file_system_without_directory_fsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def refuse(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    write_atomic(tmp_path / "x", b"x")
    assert (tmp_path / "x").read_bytes() == b"x"


def test_another_name_of_a_file(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a", b"a")
    for _ in range(2):
        link_or_copy(tmp_path / "a", tmp_path / "best")
        assert (tmp_path / "best").samefile(tmp_path / "a")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "best"]


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.EXDEV, errno.EMLINK, errno.ENOSYS])
def test_a_copy_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    for content in (b"one", b"two"):
        write_atomic(tmp_path / "a", content)
        link_or_copy(tmp_path / "a", tmp_path / "best")
        assert (tmp_path / "best").read_bytes() == content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "best"]
    monkeypatch.setattr(os, "link", lambda *_, **__: refuse_io())
    with pytest.raises(FileError, match=r"best: cannot be written \(input/output error\)"):
        link_or_copy(tmp_path / "a", tmp_path / "best")


def refuse_io() -> None:
    raise OSError(errno.EIO, "Input/output error")


def test_appended_bytes(tmp_path: Path) -> None:
    append_bytes(tmp_path / "log", b"a\n")
    append_bytes(tmp_path / "log", b"b\n")
    assert (tmp_path / "log").read_bytes() == b"a\nb\n"
    (tmp_path / "link").symlink_to("log")
    with pytest.raises(FileError, match="link: cannot be written \\(a link stands there"):
        append_bytes(tmp_path / "link", b"c")


def test_a_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("elsewhere")
    (tmp_path / "file").touch()
    assert own_directory(tmp_path / "a" / "b") == own_directory(tmp_path / "a" / "b")
    with pytest.raises(FileError, match="link: is a link to elsewhere; expected a folder, remove the link"):
        own_directory(tmp_path / "link")
    with pytest.raises(FileError, match="file: is no folder"):
        own_directory(tmp_path / "file")
    with pytest.raises(FileError, match=r"file/x: cannot be made \(a part of the path is no folder"):
        own_directory(tmp_path / "file" / "x")


def test_a_private_folder_is_this_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    own_directory(tmp_path / "open", private=True)
    assert stat.S_IMODE((tmp_path / "open").stat().st_mode) == 0o700
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(FileError, match="open: others may write there"):
        own_directory(tmp_path / "open", private=True)


def test_every_failure_of_the_system_has_a_line() -> None:
    for code in range(1, 134):
        line = str(file_error("a/b", OSError(code, os.strerror(code)), "read"))
        assert line.startswith("a/b: cannot be read (")
        assert "; " in line
        assert "\n" not in line
    assert "stale" in str(file_error("x", OSError(errno.ESTALE, "Stale file handle")))
    assert str(file_error("x", OSError("3 requested and 2 written"))).startswith(
        "x: cannot be written (3 requested and"
    )


def test_pieces_are_written_in_place(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"..........")
    write_at(path, [(2, b"ab"), (8, b"cdef"), (5, b"")])
    assert path.read_bytes() == b"..ab....cdef"
    (tmp_path / "link").symlink_to(path)
    for name in ("absent", "link"):
        with pytest.raises(FileError):
            write_at(tmp_path / name, [(0, b"x")])
    assert path.read_bytes() == b"..ab....cdef"
