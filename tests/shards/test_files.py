"""A file appears whole or not at all, also when its writer is killed."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from alexnet_shards.files import TEMPORARY_SUFFIX, atomic_file, locked, sync_directory, write_atomic

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


def test_a_killed_writer_leaves_the_old_file_and_the_next_one_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_atomic(path, b"old")
    with subprocess.Popen([sys.executable, "-c", KILLED_WRITER, str(path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"written\n"
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert path.read_bytes() == b"old"
    left = tmp_path / f"x{TEMPORARY_SUFFIX}"
    assert left.read_bytes() == b"half"
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert not left.exists()


def test_a_missing_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomic(tmp_path / "missing" / "x", b"")
    with pytest.raises(FileNotFoundError):
        sync_directory(tmp_path / "missing")


def test_the_lock_of_a_directory_is_waited_for(tmp_path: Path) -> None:
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
