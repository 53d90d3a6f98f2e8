"""How a command ends: status and one line for everything a user can cause, whatever becomes of its streams."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

Tool = Callable[..., subprocess.CompletedProcess[str]]


def catches(pid: int, number: int) -> bool:
    """Whether the process has a handler of its own for signal `number`."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, mask = line.partition(":")
        if name == "SigCgt":
            return bool(int(mask, 16) >> (number - 1) & 1)
    return False


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until `condition` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.001)


FAILURES = {
    "from alexnet_shards import FormatError\nraise FormatError('here: found a, expected b')": "here: found a, expected b",
    "open('/nowhere/x')": "/nowhere/x: No such file or directory; check the path",
    "raise OSError(28, 'No space left on device', '/data/x.tar')": "/data/x.tar: No space left on device; free space",
    "raise OSError(5, 'Input/output error')": "Input/output error; check the disk",
    "import os\nos.rename('/nowhere/a', '/nowhere/b')": "/nowhere/a -> /nowhere/b: No such file",
    "raise MemoryError": "out of memory; take fewer workers",
    "import numpy\nnumpy.zeros(1 << 50)": "out of memory (Unable to allocate",
    "f = lambda: f()\nf()": "nested too deeply",
    "import click\nraise click.ClickException('no')": "no",
    "open('/nowhere/a\\nerror: forged\\u202e')": r"/nowhere/a\nerror: forged\u202e: No such file",
    "open('/nowhere/[bold]/a[/b]')": "/nowhere/[bold]/a[/b]: No such file",
    "open(b'/nowhere/caf\\xe9')": r"/nowhere/caf\xe9: No such file",
    "raise OSError('https://me:secret@host/x?sig=abc is gone')": "https://***@host/x?sig=*** is gone",
}


@pytest.mark.parametrize("body", FAILURES)
def test_a_failure_is_one_line_and_status_1(body: str, tool: Tool) -> None:
    done = tool(body)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert FAILURES[body] in line


@pytest.mark.parametrize("words", [["--nonsense"], ["--count", "x"], ["more"]])
def test_wrong_usage_is_one_line_and_status_2(words: list[str], tool: Tool) -> None:
    done = tool("pass", *words)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "Usage: tool.py [OPTIONS]; tool.py --help says more" in line


def test_a_bug_of_ours_has_its_traceback(tool: Tool) -> None:
    for body in ("{}['x']", "raise RuntimeError('bug')", "raise NotImplementedError"):
        done = tool(body)
        assert done.returncode == 1
        assert "Traceback" in done.stderr


def test_a_stop_has_its_own_status(tool: Tool) -> None:
    done = tool("from alexnet_command.failures import Stop\nclass Leave(Stop):\n    status = 130\nraise Leave('saved')")
    assert (done.returncode, done.stderr) == (130, "saved\n")


def test_interrupts_during_work_unwind_it(tool: Tool) -> None:
    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        send = f"    os.kill(os.getpid(), {number:d})"
        done = tool(f"import os, time\ntry:\n{send}\n    time.sleep(60)\nfinally:\n    say('closed')")
        assert done.returncode == status
        first, last = done.stderr.splitlines()
        assert first == "closed"
        assert last.startswith("error: interrupted")


def test_an_interrupt_in_a_destructor_is_not_lost(tool: Tool) -> None:
    """Python drops an exception that comes up there."""
    body = """
import os, signal, time
class Thing:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        sum(range(1000))
thing = Thing()
del thing
time.sleep(60)
"""
    done = tool(body)
    assert done.returncode == 130
    assert len(done.stderr.splitlines()) == 1


def test_a_thread_that_waits_does_not_hold_up_who_leaves(tool: Tool) -> None:
    body = """
import os, signal, threading, time
threading.Thread(target=time.sleep, args=(600,)).start()
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(600)
"""
    assert tool(body).returncode == 143  # it has 120 seconds


# While Python calls what waits for the end, and while it takes its modules apart, when its signal handlers are gone.
ENDS = {
    "at exit": "atexit.register(send)",
    "later": "Thing = type('Thing', (), {'__del__': lambda self: send()})\nsys.modules['thing'] = Thing()",
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ENDS)
def test_a_signal_after_the_last_word_changes_nothing(number: signal.Signals, moment: str, tool: Tool) -> None:
    for ending, status, line in (
        ("say('done')", 0, "done"),
        ("raise OSError(5, 'Input/output error')", 1, "error: Input/output error; check the disk"),
    ):
        done = tool(f"""
import atexit, os, sys, time
def send(os=os, time=time):
    os.write(2, b'sent\\n')
    os.kill(os.getpid(), {number:d})
    time.sleep(0.1)
{ENDS[moment]}
{ending}
""")
        assert done.returncode == status
        first, last = done.stderr.splitlines()
        assert first.startswith(line)
        assert last == "sent"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_at_any_moment_of_the_imports(number: signal.Signals, script: Callable[[str], Path]) -> None:
    path = script(
        "with loading():\n    import numpy, PIL.Image, scipy.io, rich.console, http.client\nimport time\ntime.sleep(60)"
    )
    for delay_ms in (0, 1, 2, 5, 10, 20, 50, 100, 200, 400):
        process = subprocess.Popen(
            [sys.executable, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        wait_for(lambda: catches(process.pid, signal.SIGTERM) and catches(process.pid, signal.SIGINT))  # noqa: B023
        time.sleep(delay_ms / 1000)
        process.send_signal(signal.SIGUSR1)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=60)
        assert process.returncode == 128 + number, stderr
        assert stdout == ""
        (line,) = stderr.splitlines()
        assert line.startswith("error: interrupted")


def test_help_and_version(tool: Tool) -> None:
    for flag in ("-h", "--help"):
        done = tool("pass", flag)
        assert done.returncode == 0
        for words in ("--count N", "How many.", "[default: 3]", "--version", "Examples:\n  tool --go\n"):
            assert words in done.stdout
    done = tool("pass", "--version")
    assert done.returncode == 0
    assert done.stdout.split()[1][0].isdecimal()


ODD = "show(['é文\\udce9\\n[bold]', '±…']); say('é文\\udce9\\x1b[31m'); show_json({'k': 'é\\udce9', 'n': float('nan'), 'u': 'https://a:b@h'})"


@pytest.mark.parametrize(
    "env",
    [
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "ascii:strict"},
        {"LC_ALL": "C"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "utf-8"},
    ],
)
def test_every_screen_and_locale(env: dict[str, str], script: Callable[[str], Path]) -> None:
    done = subprocess.run(
        [sys.executable, str(script(ODD))], capture_output=True, env={**os.environ, **env}, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    first, _, last = done.stdout.splitlines()
    assert first.endswith(rb"\xe9\n[bold]")
    assert done.stderr.endswith(b"\\xe9\\x1b[31m\n")
    assert json.loads(last) == {"k": "é\udce9", "n": None, "u": "https://***@h"}


def test_stdout_that_nobody_reads(tool: Tool) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = tool("show(['x' * 100000])", stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_stdout_that_is_full(tool: Tool) -> None:
    with Path("/dev/full").open("w") as full:
        done = tool("show(['x'])", stdout=full)
    assert done.returncode == 1
    assert done.stderr == "error: standard output: No space left on device; " + done.stderr.split("; ", 1)[1]
    assert len(done.stderr.splitlines()) == 1


def test_stderr_that_nobody_reads_does_not_stop_the_work(tool: Tool) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = tool("say('x' * 100000); say('more'); show(['done'])", stderr=writer)
    os.close(writer)
    assert (done.returncode, done.stdout) == (0, "done\n")


@pytest.mark.parametrize("closed", [[0], [1], [2], [0, 1, 2]])
def test_closed_streams(closed: list[int], script: Callable[[str], Path], tmp_path: Path) -> None:
    """A file that is opened never becomes somebody's stdout."""
    out = tmp_path / "out.txt"
    path = script(f"""
file = open({str(out)!r}, 'w')
say('a message')
print('a stray line')
file.write(str(file.fileno()))
file.close()
show(['result'])
""")
    redirections = " ".join(f"{number}>&-" for number in closed)
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} {path} {redirections}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert out.read_text().isdecimal()
    assert int(out.read_text()) > 2
    assert done.returncode == (1 if 1 in closed else 0)
    assert "Traceback" not in done.stderr
    if closed == [1]:
        assert "standard output" in done.stderr


def test_warnings_of_libraries_are_one_line(tool: Tool) -> None:
    done = tool("import warnings\nwarnings.warn('two\\nlines')\nshow(['done'])")
    assert (done.returncode, done.stderr) == (0, "warning: two\\nlines\n")
