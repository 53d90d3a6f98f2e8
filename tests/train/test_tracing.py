"""A trace holds as many steps as were asked for."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from alexnet_command.progress import Progress
from alexnet_train.loop import fit
from alexnet_train.runconfig import RunConfig
from alexnet_train.tracing import Tracer


def test_a_few_steps_are_traced(
    make_run: Callable[..., str], small_run: Callable[..., RunConfig], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Progress("train", "steps") as progress:
        fit(small_run(make_run(tmp_path / "shards"), tmp_path / "run", profile_steps=3), progress)
    (path,) = (tmp_path / "run").glob("trace-*")
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    steps = sum(event.get("name") == "Optimizer.step#MomentumSGD.step" for event in events)
    assert steps == 3
    err = capfd.readouterr().err
    assert f"trace in {path}" in err
    assert "bound by " in err


def test_a_run_that_ends_early_still_writes_its_trace(tmp_path: Path) -> None:
    said: list[str] = []
    with Tracer(tmp_path, 100, said.append) as tracer:
        for _ in range(4):
            torch.ones(3).sum()
            tracer.step()
    assert len(said) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["trace-100-steps.json.gz"]
