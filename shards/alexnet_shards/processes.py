"""The home of child processes: started without the current directory's modules, limited, and gone with their parent.

Nothing of it needs /dev/shm, which may be read-only or tiny: parent and child talk by a pipe alone.
"""

import ctypes
import json
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

from alexnet_shards.errors import WorkerError, file_error
from alexnet_shards.machine import limit_memory

PR_SET_PDEATHSIG = 1
GIB = 1 << 30
# Room for the largest image and every step of its way; what needs more is not an image.
WORKER_EXTRA_BYTES = 4 * GIB
# The path is set before anything but these two is imported: -P keeps the current directory from them.
CHILD = "import json, sys; sys.path[:] = json.loads(sys.argv[2]); from alexnet_shards import processes; processes.{}()"


class Child:
    """A process of ours and the pipe to it."""

    def __init__(self, process: "subprocess.Popen[bytes]", connection: Connection) -> None:
        self._process, self.connection = process, connection

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def kill(self) -> None:
        """End it at once; it holds nothing that must be saved."""
        self._process.kill()

    def join(self) -> None:
        """Wait until it has ended."""
        self._process.wait()

    @property
    def exitcode(self) -> int | None:
        """Its exit status, -N where signal N has ended it, None while it runs."""
        return self._process.poll()

    def close(self) -> None:
        """Kill it, close the pipe and wait for its end."""
        self.kill()
        self.connection.close()
        self.join()


def start_child(
    target: Callable[..., None],
    arguments: Sequence[Any],
    *,
    extra_bytes: int | None = WORKER_EXTRA_BYTES,
    descriptors: Sequence[int] = (),
) -> Child:
    """Start a Python process that calls `target(connection, *arguments)`, a function of a module, with its pipe's end.

    It has the open files `descriptors` under the same numbers, and `extra_bytes` of memory beside its program, None for
    no limit. It dies with this process, and Ctrl-C at the terminal does not reach it. Raises OSError where it cannot be
    started: too many open files or processes, no memory.
    """
    ours, theirs = multiprocessing.Pipe()
    main_thread = threading.current_thread() is threading.main_thread()
    name = f"{target.__module__}.{target.__qualname__}"
    command = _python(CHILD.format("_child_main"), name, *map(str, (theirs.fileno(), os.getpid(), int(main_thread))))
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(), *descriptors),
            env=_environment(),
            process_group=0,
        )
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    with suppress(BrokenPipeError, ConnectionResetError):  # its death is noticed when we listen
        ours.send((extra_bytes, target, arguments))
    return Child(process, ours)


def run_module(module: str, arguments: Sequence[str]) -> tuple[int, bytes]:
    """Run a module of ours as `python -m` does: (exit status, its stdout); its stderr is ours.

    It is asked to end, and waited for, where an exception ends the wait here.
    """
    command = _python(CHILD.format("_module_main"), module, *arguments)
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=_environment()) as process:
        try:
            printed, _ = process.communicate()
        except BaseException:
            process.terminate()  # it saves what it has; the end of the block waits for it
            raise
    return process.returncode, printed


def run_program(command: Sequence[str | Path], seconds: float) -> bytes:
    """Run a program of the machine, as the compiler: its stdout. Raises WorkerError with the last of its messages."""
    name = Path(command[0]).name
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as error:
        raise WorkerError(f"{name}: did not end within {seconds:.0f} s") from error
    except OSError as error:
        raise file_error(command[0], error, "run") from error
    if done.returncode:
        said = " ".join(done.stderr.decode("utf-8", "replace").split())
        raise WorkerError(f"{name}: exit status {done.returncode}: {said[:2000]}")
    return done.stdout


class ChildLostError(WorkerError):
    """A fork that gave no answer: ended by `signal_number`, 0 where by itself, None where it took too long."""

    def __init__(self, signal_number: int | None) -> None:
        super().__init__(
            "took too long" if signal_number is None else f"ended by signal {signal_number} (0: by itself)"
        )
        self.signal_number = signal_number


def call_apart(function: Callable[..., Any], arguments: Sequence[Any], *, seconds: float, extra_bytes: int) -> Any:
    """`function(*arguments)` in a fork of this process, for readers that a stranger's file may crash or keep busy.

    It has `seconds` and `extra_bytes` of memory beside what this process has. Raises ChildLostError without an answer;
    what the function itself raises is for the function to answer with.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_answer, args=(sender, function, arguments, extra_bytes), daemon=True)
    try:
        child.start()
        sender.close()
        if not receiver.poll(seconds):
            raise ChildLostError(None)
        return receiver.recv()
    except EOFError:
        child.join()
        raise ChildLostError(max(0, -(child.exitcode or 0))) from None
    finally:
        receiver.close()
        child.kill()
        child.join()


def _answer(sender: Connection, function: Callable[..., Any], arguments: Sequence[Any], extra_bytes: int) -> None:
    limit_memory(extra_bytes)
    sender.send(function(*arguments))


def die_with_parent(parent_pid: int, *, main_thread: bool = True) -> None:
    """Have this process end when its parent dies, so that no orphan writes beside the next run.

    The kernel's signal comes when the thread ends that started this process: where that was not the `main_thread`, a
    thread of ours waits for the parent instead.
    """
    if not main_thread or sys.platform != "linux":
        threading.Thread(target=_end_after, args=(parent_pid,), daemon=True).start()
    else:
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        prctl.argtypes = [ctypes.c_int, ctypes.c_ulong]
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it died before the lines above
        os._exit(1)


def _end_after(parent_pid: int) -> NoReturn:
    if hasattr(os, "pidfd_open"):
        with suppress(OSError):
            select.select([os.pidfd_open(parent_pid)], [], [])
            os._exit(1)
    while os.getppid() == parent_pid:
        time.sleep(1)
    os._exit(1)


def _python(code: str, *arguments: str) -> list[str]:
    """The command of a Python process that finds every module where this one does, except in the current directory.

    sys.path has "" for it; a package of ours that was found there is found by its own folder.
    """
    rooms = [module for name, module in list(sys.modules.items()) if name.startswith("alexnet_") and "." not in name]
    roots = [str(Path(room.__file__).parent.parent) for room in rooms if room.__file__ is not None]
    path = list(dict.fromkeys([*(entry for entry in sys.path if entry), *roots]))
    name, *others = arguments
    return [sys.executable, "-P", "-c", code, name, json.dumps(path), *others]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONSAFEPATH": "1"}


def _child_main() -> None:
    """What a child runs: sys.argv is (-c, target's name, path, descriptor of the pipe, parent, main thread or not)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who sends it to all of us means the parent, which ends its children
    descriptor, parent_pid, main_thread = map(int, sys.argv[3:])
    die_with_parent(parent_pid, main_thread=bool(main_thread))
    connection = Connection(descriptor)
    try:
        extra_bytes, target, arguments = connection.recv()
    except (EOFError, OSError):  # the parent has gone
        return
    if extra_bytes is not None:
        limit_memory(extra_bytes)
    target(connection, *arguments)


def _module_main() -> None:
    """sys.argv is (-c, module, path, its arguments…)."""
    import runpy

    module, sys.argv = sys.argv[1], [sys.argv[1], *sys.argv[3:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
