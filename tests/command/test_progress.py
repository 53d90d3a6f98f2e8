"""Progress in a log and on screens of every width."""

import os
import pty
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from alexnet_command.progress import Progress, Step, bar_line, end_line, plain_line

FIGURES = {"loss": "6.123", "error": "99.1%", "waiting": "3%"}


def under_way(done: int = 12_345, seconds: float = 1000.0) -> Step:
    started_s = time.monotonic() - seconds
    return Step("train", "steps", 123_456, done=done, skipped=345, started_s=started_s, figures=dict(FIGURES))


def test_a_line_names_count_share_rate_time_left_and_figures() -> None:
    assert plain_line(under_way()) == (
        "train: 12,345/123,456 steps (10%), 12 steps/s, 2 h 34 min left, loss 6.123, error 99.1%, waiting 3%"
    )
    assert end_line(under_way(123_456)) == (
        "train: 123,456/123,456 steps in 16 min 40 s, 123 steps/s, loss 6.123, error 99.1%, waiting 3%"
    )
    assert plain_line(Step("draw", "images", None, done=7)).startswith("draw: 7 images, ")


@pytest.mark.parametrize("ascii_only", [True, False])
def test_count_and_time_left_are_the_last_to_go(ascii_only: bool) -> None:
    step = under_way()
    for cells in range(30, 200):
        line = bar_line(step, cells, ascii_only=ascii_only)
        assert len(line) <= cells
        assert "12,345/123,456 steps" in line
        assert line.isascii() or not ascii_only
        if cells >= 50:
            assert "2 h 34 min left" in line
            assert line.startswith("train  ")
    wide = bar_line(step, 150, ascii_only=ascii_only)
    for words in ("12 steps/s", "loss 6.123", "error 99.1%", "waiting 3%"):
        assert words in wide
    assert ("#" if ascii_only else "━") in bar_line(step, 79, ascii_only=ascii_only)


def test_a_line_every_so_often_and_one_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("verify", "shards", line_seconds=0.05) as progress:
        progress.at(1, 4)
        progress.show({"bad": "0"})
        deadline = time.monotonic() + 60
        seen = ""
        while seen.count("bad 0\n") < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
            seen += capsys.readouterr().err
        progress.at(4, 4)
    line = seen.splitlines()[-1]
    assert line.startswith("verify: 1/4 shards (25%), ")
    assert line.endswith("bad 0")
    assert capsys.readouterr().err.splitlines()[-1].startswith("verify: 4/4 shards in ")
    assert not [thread for thread in threading.enumerate() if thread is progress._clock and not progress._over.is_set()]


def test_the_first_word_comes_after_some_time(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one shard it is the last one too: 909 images had taken 0.02 s."""
    now_s = 100.0
    monkeypatch.setattr("alexnet_command.progress.time", SimpleNamespace(monotonic=lambda: now_s))
    with Progress("statistics", "images") as progress:
        now_s += 2
        progress.at(50, 50)
    assert capsys.readouterr().err == "statistics: 50/50 images in 2.0 s, 25 images/s\n"


def test_a_failure_leaves_no_line_of_progress(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(OSError, match="gone"), Progress("verify", "shards") as progress:
        progress.at(1, 4)
        raise OSError("gone")
    assert capsys.readouterr().err == ""


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("train", "steps", quiet=True, line_seconds=0.01) as progress:
        progress.start(4)
        progress.advance()
        progress.show({"loss": "1"})
        progress.say("a word")
        time.sleep(0.05)
    assert capsys.readouterr() == ("", "")


def test_what_was_there_already_says_nothing_of_the_rate() -> None:
    step = Step("train", "images", 200, started_s=time.monotonic() - 10)
    step.done, step.skipped = 150, 100
    assert step.left_text() == "10 s left"
    step.done = 200
    assert step.left_text() == ""
    whole = Step("train", "steps", 10, done=10, skipped=10, started_s=time.monotonic() - 1)
    assert end_line(whole) == "train: 10/10 steps in 1.0 s"


SCREEN = """
import sys
from alexnet_command.printing import ready_streams
from alexnet_command.progress import Progress
ready_streams()
with Progress("train", "steps") as progress:
    progress.start(3000, 345)
    progress.show({"loss": "6.123", "error": "99.1%", "waiting": "3%"})
    progress.advance(2000)
    progress.say("a/[/b] y[ok]\\n\\x1b[2J")
    sys.stdin.readline()  # whoever looks has seen it
"""


@pytest.mark.parametrize("columns", [50, 80, 120])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_screen_has_a_bar(columns: int, encoding: str, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    env = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm", "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-c", SCREEN]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=theirs, stdout=subprocess.DEVNULL, env=env)
    assert process.stdin is not None
    os.close(theirs)
    shown = b""
    while True:
        if b"left" in shown and b"y[ok]" in shown:
            process.stdin.close()
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other side is closed
            break
        shown += part
        if not part:
            break
    assert process.wait(60) == 0
    os.close(ours)
    text = shown.decode(encoding)
    assert "/3,000 steps" in text
    assert "left" in text
    if columns >= 80:
        assert ("━" if encoding == "utf-8" else "####") in text
    assert r"a/[/b] y[ok]\n\x1b[2J" in text
    assert "train: 2,345/3,000 steps in " in " ".join(text.split())
