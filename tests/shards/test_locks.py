"""Locks of real processes: waited for, told with their owner, given back by the dead; never another file's end."""

import errno
import fcntl
import logging
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from alexnet_shards.errors import FileError
from alexnet_shards.locks import LOCK_NAME, LockHeldError, locked, locked_file, owned

OWNER = """
import sys, time
from pathlib import Path
from alexnet_shards.locks import owned
with owned(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_the_lock_of_a_directory(tmp_path: Path) -> None:
    order: list[str] = []

    def second() -> None:
        with locked(tmp_path):
            order.append("second")

    with locked(tmp_path):
        waiting = threading.Thread(target=second)
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]


def test_an_owned_lock_names_its_owner_and_dies_with_it(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    with subprocess.Popen([sys.executable, "-c", OWNER, str(lock)], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "locked\n"
        words = f"held by process {owner.pid} on {socket.gethostname()}; wait until it ends"
        with pytest.raises(LockHeldError, match=words) as held, owned(lock):
            pass
        assert held.value.owner == f"{owner.pid} on {socket.gethostname()}"
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        with owned(lock):
            assert lock.read_text() == f"{os.getpid()} on {socket.gethostname()}\n"


def test_a_lock_is_never_the_end_of_another_file(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    lock = tmp_path / ".lock"
    ways: tuple[tuple[Callable[[], None], str], ...] = (
        (lambda: lock.symlink_to(victim), "a link stands there"),
        (lambda: lock.hardlink_to(victim), "has other names elsewhere"),
        (lambda: os.mkfifo(lock), "is no file"),
        (lambda: lock.mkdir(), "it is a folder"),
    )
    for make, words in ways:
        make()
        for way in (owned, locked_file):
            with pytest.raises(FileError, match=rf"\.lock: .*{words}"), way(lock):
                pass
        lock.rmdir() if lock.is_dir() else lock.unlink()
    lock.write_bytes(bytes(5000))
    with pytest.raises(FileError, match="is no lock file"), owned(lock):
        pass
    assert lock.read_bytes() == bytes(5000)
    assert victim.read_bytes() == b"precious"


def test_a_locked_file_that_was_removed_meanwhile_is_made_again(tmp_path: Path) -> None:
    path, order = tmp_path / "x", []

    def second() -> None:
        with locked_file(path) as file:
            order.append(os.fstat(file.fileno()).st_ino == path.stat().st_ino)

    with locked_file(path):
        waiting = threading.Thread(target=second)
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        path.rename(tmp_path / "y")
    waiting.join()
    assert order == [True]


def refuse(code: int, monkeypatch: pytest.MonkeyPatch, *, folders_only: bool = False) -> None:
    """Have flock answer as a file system without it."""
    flock = fcntl.flock

    def answer(descriptor: int, operation: int) -> None:
        if folders_only and not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            return flock(descriptor, operation)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", answer)


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    refuse(code, monkeypatch)
    with caplog.at_level(logging.WARNING), owned(tmp_path / "a"), owned(tmp_path / "b"), locked_file(tmp_path / "c"):
        pass
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}: this file system has no locks; let no two commands write here at once"
    ]
    with locked(tmp_path):
        pass


def test_a_folder_of_nfs_is_locked_by_a_file_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(errno.EBADF, monkeypatch, folders_only=True)
    with locked(tmp_path), pytest.raises(LockHeldError), locked_file(tmp_path / LOCK_NAME, wait=False):
        pass
    assert not list(tmp_path.iterdir())


def test_a_lock_that_fails_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(errno.EIO, monkeypatch)
    for way in (owned, locked_file):
        with pytest.raises(FileError, match=r"x: cannot be locked \(input/output error\)"), way(tmp_path / "x"):
            pass
    with pytest.raises(FileError, match=r"cannot be locked \(input/output error\)"), locked(tmp_path):
        pass
    with pytest.raises(FileError, match=r"missing: cannot be locked \(no such file"), locked(tmp_path / "missing"):
        pass


def test_a_shared_lock_is_held_by_several_and_alone_by_one(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    with owned(lock, shared=True), owned(lock, shared=True), pytest.raises(LockHeldError), owned(lock):
        pass
    with owned(lock), pytest.raises(LockHeldError), owned(lock, shared=True):
        pass
