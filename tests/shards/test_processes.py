"""Real child processes: none takes a module from the current directory, none outlives its parent or its limits."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from alexnet_shards.errors import WorkerError
from alexnet_shards.processes import ChildLostError, call_apart, run_module, run_program, start_child

ROOM = Path(__file__).parent.parent.parent / "shards"
PARENT = """
import os, sys, time
from alexnet_shards.processes import start_child
if __name__ == "__main__":
    children = [start_child(os.write, (b"", )) for _ in range(0)]
    import sleeper
    child = start_child(sleeper.sleep, (sys.argv[1],))
    print(child.pid, child.connection.recv(), flush=True)
    time.sleep(120)
"""
SLEEPER = """
import sys, time
def sleep(connection, word):
    connection.send(word)
    time.sleep(120)
def modules(connection):
    import numpy, pickle, json
    connection.send([module.__file__ for module in (numpy, pickle, json)])
"""
# What a stranger's folder may hold under the names of modules that every child imports.
TRAP = "open('/proc/self/cwd/trapped', 'w').close()\nraise SystemExit(3)\n"
TRAPS = ("pickle", "numpy", "json", "multiprocessing", "selectors", "signal", "alexnet_shards", "runpy", "struct")


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert condition()


def say(connection: Connection, *words: Any) -> None:
    connection.send(words)


def say_facts(connection: Connection) -> None:
    connection.send(
        (os.environ["PYTHONSAFEPATH"], sys.flags.safe_path, sys.path[0], os.getpgid(0), os.isatty(0), os.getppid())
    )


def test_a_child_answers_and_ends() -> None:
    child = start_child(say, ("a", 2))
    assert child.connection.recv() == ("a", 2)
    child.join()
    assert child.exitcode == 0
    child.close()


def test_what_a_child_is() -> None:
    child = start_child(say_facts, ())
    safe, flag, first, group, terminal, parent = child.connection.recv()
    assert (safe, flag, first, terminal, parent) == ("1", True, next(filter(None, sys.path)), False, os.getpid())
    assert group == child.pid  # Ctrl-C at the terminal means the parent
    assert b"test_processes.say_facts" in Path(f"/proc/{child.pid}/cmdline").read_bytes() or not is_running(child.pid)
    child.close()


@pytest.mark.parametrize("found_by", ["PYTHONPATH", "current directory"])
def test_no_module_is_taken_from_the_current_directory(tmp_path: Path, found_by: str) -> None:
    """Also where "" in sys.path, for the current directory, is what the package itself was found by."""
    cwd = ROOM if found_by == "current directory" else tmp_path
    for name in () if cwd == ROOM else TRAPS:
        (tmp_path / f"{name}.py").write_text(TRAP)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "sleeper.py").write_text(SLEEPER)
    program = (
        "import sys; sys.path.remove('') if len(sys.argv) > 2 else None; sys.path.append(sys.argv[1]); "
        "from alexnet_shards.processes import start_child; import sleeper, numpy, pickle, json; "
        "sys.path.insert(0, '') if '' not in sys.path else None; "
        "child = start_child(sleeper.modules, ()); found = child.connection.recv(); child.join(); "
        "assert found == [module.__file__ for module in (numpy, pickle, json)]; print(child.exitcode)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOM)} if cwd == tmp_path else dict(os.environ)
    if cwd == ROOM:
        environment.pop("PYTHONPATH", None)
    command = [sys.executable, "-c", program, str(tmp_path / "elsewhere"), *(["clean"] if cwd == tmp_path else [])]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr
    assert not (tmp_path / "trapped").exists()


def test_a_module_of_ours_runs_as_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "told.py").write_text("import sys\nprint(__name__, sys.argv[1:])\nsys.exit(len(sys.argv))\n")
    (tmp_path / "cwd").mkdir()
    (tmp_path / "cwd" / "runpy.py").write_text(TRAP)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path / "cwd")
    assert run_module("told", ["--a", "b"]) == (3, b"__main__ ['--a', 'b']\n")
    assert not (tmp_path / "cwd" / "trapped").exists()


def start_parent(directory: Path) -> tuple[subprocess.Popen[str], int]:
    """A parent in a process group of its own, as from a shell, and the pid of its child."""
    (directory / "parent.py").write_text(
        PARENT.replace('    children = [start_child(os.write, (b"", )) for _ in range(0)]\n', "")
    )
    (directory / "sleeper.py").write_text(SLEEPER)
    parent = subprocess.Popen(
        [sys.executable, str(directory / "parent.py"), "word"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert parent.stdout is not None
    pid, word = parent.stdout.readline().split()
    assert word == "word"
    return parent, int(pid)


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_child_dies_with_its_parent(tmp_path: Path, signal_number: int) -> None:
    parent, pid = start_parent(tmp_path)
    with parent:
        assert is_running(pid)
        os.killpg(parent.pid, signal_number)
        errors = parent.communicate(timeout=60)[1]
        wait_until(lambda: not is_running(pid))
    assert errors.count("Traceback") == (signal_number == signal.SIGINT)  # the parent's own; its child says nothing


def test_a_child_outlives_the_thread_that_started_it() -> None:
    """The kernel's death signal comes with the thread's end: there another way is taken."""
    children = []
    thread = threading.Thread(target=lambda: children.append(start_child(answer_twice, ())))
    thread.start()
    thread.join()
    (child,) = children
    assert child.connection.recv() == "one"
    time.sleep(0.3)
    child.connection.send("go on")
    assert child.connection.recv() == "two"
    child.close()


def answer_twice(connection: Connection) -> None:
    connection.send("one")
    connection.recv()
    connection.send("two")


def take(connection: Connection, size_bytes: int) -> None:
    try:
        connection.send(len(bytearray(size_bytes)))
    except MemoryError:
        connection.send("no memory")


def test_memory_is_limited_beside_what_the_program_takes() -> None:
    for extra_bytes, answer in ((1 << 28, "no memory"), (1 << 30, 1 << 29)):
        child = start_child(take, (1 << 29,), extra_bytes=extra_bytes)
        assert child.connection.recv() == answer
        child.close()


def test_a_call_apart() -> None:
    assert call_apart(divmod, (7, 2), seconds=60, extra_bytes=1 << 28) == (3, 1)
    for function, arguments, signal_number in (
        (os.kill, (0, signal.SIGSEGV), signal.SIGSEGV),
        (kill_self, (signal.SIGKILL,), signal.SIGKILL),
        (os._exit, (3,), 0),
    ):
        if function is os.kill:
            function, arguments = kill_self, (signal.SIGSEGV,)
        with pytest.raises(ChildLostError) as lost:
            call_apart(function, arguments, seconds=60, extra_bytes=1 << 28)
        assert lost.value.signal_number == signal_number


def kill_self(signal_number: int) -> None:
    os.kill(os.getpid(), signal_number)


def test_a_call_apart_has_a_time_and_a_size() -> None:
    started = time.monotonic()
    with pytest.raises(ChildLostError, match="took too long") as lost:
        call_apart(time.sleep, (600,), seconds=0.5, extra_bytes=1 << 28)
    assert lost.value.signal_number is None
    assert time.monotonic() - started < 30
    assert call_apart(allocate, (1 << 29,), seconds=60, extra_bytes=1 << 28) == "no memory"
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY


def allocate(size_bytes: int) -> str:
    try:
        return str(len(bytearray(size_bytes)))
    except MemoryError:
        return "no memory"


def test_a_program_of_the_machine(tmp_path: Path) -> None:
    assert run_program(["echo", "a"], 60) == b"a\n"
    with pytest.raises(WorkerError, match=r"^sh: exit status 3: one two$"):
        run_program(["sh", "-c", "echo one >&2; echo two >&2; exit 3"], 60)
    with pytest.raises(WorkerError, match=r"^sleep: did not end within 0 s$"):
        run_program(["sleep", "60"], 0.2)
    with pytest.raises(Exception, match=r"nothing: cannot be run \(no such file"):
        run_program([tmp_path / "nothing"], 60)
