"""A run's progress: lines to stderr, nothing to stdout."""

import pytest

from alexnet_train.progress import RunProgress


def test_lines_go_to_stderr_and_nothing_to_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    with RunProgress("train", "steps") as progress:
        progress.say("[bold]as it is[/bold] " + "x" * 200)
        progress.start(10, 3)
        progress.advance()
    out, err = capfd.readouterr()
    assert out == ""
    said, counted = err.splitlines()
    assert said == "[bold]as it is[/bold] " + "x" * 200
    assert counted.startswith("train: 4/10 steps in 0.0")
