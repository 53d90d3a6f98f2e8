"""The commands that use a run are those of the group, and say what they take."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from alexnet_train import usecommands
from alexnet_train.commands import commands


@pytest.mark.parametrize("name", ["report", "predict", "export", "import"])
def test_they_belong_to_the_group(name: str, run: Callable[..., Result]) -> None:
    command = getattr(usecommands, name if name != "import" else "import_")
    assert commands.commands[name] is command
    done = run(name, "--help")
    assert done.exit_code == 0
    assert done.stdout.count(f"alexnet-{'train report' if name == 'report' else name} ") >= 2, "two examples"


def test_a_checkpoint_that_is_not_there_is_one_line(run: Callable[..., Result], tmp_path: Path) -> None:
    done = run("predict", "--checkpoint", tmp_path / "none.pt", "a.jpg")
    assert (done.exit_code, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
