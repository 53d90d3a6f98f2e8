"""A command in a chain: its result, and how the chain ends where it fails."""

from pathlib import Path

import pytest

from alexnet_train.chain import StepFailed, run_step


def test_a_step_tells_what_it_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    step = run_step(("alexnet-prep", "sample", str(tmp_path / "a b"), "--classes", "2", "--train-per-class", "12"))
    assert step.result["members"]["train"] == 24
    assert step.seconds > 0
    assert f"$ alexnet-prep sample '{tmp_path}/a b'" in capfd.readouterr().err


def test_a_step_that_fails_ends_the_chain_with_its_status(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="alexnet-eval ended with status 1") as failed:
        run_step(("alexnet-eval", "--checkpoint", str(tmp_path / "none.pt"), "--shards", str(tmp_path / "none.tar")))
    assert failed.value.status == 1
