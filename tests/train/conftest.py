"""The commands in this process, and torchvision's network."""

import io
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from alexnet_command.entry import finish
from alexnet_train.chain import Step
from alexnet_train.commands import commands
from alexnet_train.distributed import World
from alexnet_train.recipe import load_recipe
from alexnet_train.runconfig import RunConfig
from alexnet_train.studyplan import load_plan
from alexnet_train.studyruns import StudyRequest


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a command left behind."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        return self.stdout + self.stderr


def run_here(command: str, *words: object) -> Result:
    """One of the commands in this process."""
    with redirect_stdout(io.StringIO()) as stdout, redirect_stderr(io.StringIO()) as stderr:
        status = finish(commands.commands[command], [str(word) for word in words])
    return Result(exit_code=status, stdout=stdout.getvalue(), stderr=stderr.getvalue())


@pytest.fixture(scope="session")
def run() -> Callable[..., Result]:
    """Runs `alexnet-COMMAND WORDS` in this process."""
    return run_here


SMALL = ("width=0.0625", "batch_size=5", "log_every_steps=2", "epochs=3")


@pytest.fixture(scope="session")
def small_run() -> Callable[..., RunConfig]:
    """A run of a few small steps on the CPU: (pattern, directory, more of RunConfig's fields)."""

    def config(pattern: str, out_dir: Path, **options: Any) -> RunConfig:
        world, recipe = World(device=torch.device("cpu")), load_recipe("demo", SMALL)
        return RunConfig(
            recipe=recipe, shards=[pattern], val_shards=(), stats=None, out_dir=out_dir, world=world, **options
        )

    return config


def torchvision_network(num_classes: int) -> nn.Module:
    """torchvision.models.alexnet written out: the same names of layers in the same order."""
    features = nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
    )  # fmt: skip
    classifier = nn.Sequential(
        nn.Dropout(), nn.Linear(9216, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(),
        nn.Linear(4096, num_classes),
    )  # fmt: skip
    network = nn.Sequential()
    network.add_module("features", features)
    network.add_module("pool", nn.Sequential(nn.AdaptiveAvgPool2d((6, 6)), nn.Flatten()))
    network.add_module("classifier", classifier)
    return network.eval()


@pytest.fixture(scope="session")
def torchvisions_alexnet() -> Callable[[int], nn.Module]:
    """torchvision.models.alexnet of so many classes, for evaluation."""
    return torchvision_network


STUDY_PLAN = """
title = "Two networks"
views = 1
seeds = [3]
settings = ["epochs=1", "width=0.0625", "batch_size=8", "dropout=0.0"]
[[networks]]
name = "first"
recipe = "small"
shards = "wide"
[[networks]]
name = "second"
recipe = "small"
init = "first"
[[ensembles]]
name = "both"
members = ["first", "second"]
published = "38.1 / 16.4"
"""


@pytest.fixture
def study_request(tmp_path: Path) -> Callable[..., StudyRequest]:
    """The request of a small study whose shards are only named; its text is changed by pairs (old, new)."""

    def request(*changes: tuple[str, str]) -> StudyRequest:
        text = STUDY_PLAN
        for old, new in changes:
            text = text.replace(old, new)
        (tmp_path / "plan.toml").write_text(text)
        plan = load_plan(tmp_path / "plan.toml")
        shards = {"train": "a", "wide": "b"}
        return StudyRequest(plan=plan, shards=shards, test_shards="c", out=tmp_path / "out", content_of=str.upper)

    return request


@pytest.fixture
def printed() -> Callable[[tuple[str, ...]], Step]:
    """A command of a study that is not run: what it would have printed."""

    def step(words: tuple[str, ...]) -> Step:
        return Step(words=words, result={"checkpoint": words[-1], "top1_error": 0.5, "top5_error": 0.1}, seconds=0.0)

    return step
