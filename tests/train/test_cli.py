"""The ways in: every command's help comes before torch, and a signal at any moment of the start ends it in one line."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMANDS = ("train", "eval", "predict", "export", "import")
MODULE = [sys.executable, "-m", "alexnet_train.cli"]


def catches(pid: int, number: int) -> bool:
    """Whether the process has a handler of its own for signal `number`."""
    status = Path(f"/proc/{pid}/status").read_text()
    (mask,) = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt")]
    return bool(int(mask, 16) >> (number - 1) & 1)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_and_version(command: str) -> None:
    (shown, short, version) = (
        subprocess.run([*MODULE, command, flag], capture_output=True, text=True, check=True, timeout=60).stdout
        for flag in ("--help", "-h", "--version")
    )
    assert shown == short
    assert len(version.splitlines()) == 1
    examples = shown.partition("Examples:\n")[2].splitlines()
    assert len(examples) == 2
    assert all(line.startswith(f"  alexnet-{command} ") for line in examples)
    assert all(len(line) <= 80 for line in shown.partition("Examples:\n")[0].splitlines())


def test_help_loads_neither_torch_nor_a_decoder() -> None:
    code = "import sys, alexnet_train.cli, alexnet_train.commands; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "numpy", "scipy", "PIL", "fsspec", "rich"} & set(loaded)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_while_torch_is_imported(number: signal.Signals, tmp_path: Path) -> None:
    words = ["train", "--shards", str(tmp_path / "none-*.tar"), "--out", str(tmp_path / "run")]
    ended = 0
    for delay_ms in (0, 20, 50, 100, 150, 200, 300, 500, 800):
        process = subprocess.Popen([*MODULE, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while process.poll() is None and not all(catches(process.pid, one) for one in (signal.SIGTERM, signal.SIGINT)):
            time.sleep(0.001)
        time.sleep(delay_ms / 1000)
        process.send_signal(signal.SIGUSR1)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=60)
        assert stdout == ""
        (line,) = stderr.splitlines()
        assert process.returncode in (128 + number, 1), stderr  # 1: it had come to say that there are no shards
        ended += process.returncode != 1
        assert line.startswith("error: ")
    assert ended >= 3
    assert not (tmp_path / "run").exists()


def test_the_module_trains_where_no_command_is_named(tmp_path: Path) -> None:
    for words in (["--shards", "none.tar"], ["train", "--shards", "none.tar"]):
        done = subprocess.run([*MODULE, *words], capture_output=True, text=True, check=False, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        assert "none.tar" in done.stderr
