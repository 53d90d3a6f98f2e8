"""Progress: stderr only; lines without a terminal, no bar."""

import pytest

from alexnet_train.progress import RunProgress


def test_lines_go_to_stderr_and_nothing_to_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    with RunProgress("train", "steps") as progress:
        progress.say("[bold]as it is[/bold] " + "x" * 200)
        progress.start(10, 3)
        progress.advance()
        progress.show({"loss": "1.0"})
        progress.start(5)
    out, err = capfd.readouterr()
    assert out == ""
    assert err == "[bold]as it is[/bold] " + "x" * 200 + "\n"


def test_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    with RunProgress("train", "steps", quiet=True) as progress:
        progress.say("nothing")
    assert capfd.readouterr() == ("", "")
