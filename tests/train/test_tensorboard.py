"""Event files hold what metrics.jsonl holds, read back by the file format's own definition."""

import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboardX.proto.event_pb2 import Event

from alexnet_command.progress import Progress
from alexnet_shards.errors import AlexnetError
from alexnet_train.distributed import World
from alexnet_train.loop import fit
from alexnet_train.metrics import read_metrics
from alexnet_train.recipe import load_recipe
from alexnet_train.runconfig import RunConfig
from alexnet_train.tensorboard import Board, numbers

SMALL = ("width=0.0625", "batch_size=5", "log_every_steps=2", "epochs=3")


def config(pattern: str, out_dir: Path, **options: Any) -> RunConfig:
    world = World(device=torch.device("cpu"))
    recipe = load_recipe("demo", SMALL)
    return RunConfig(
        recipe=recipe, shards=[pattern], val_shards=(), stats=None, out_dir=out_dir, world=world, **options
    )


def read_events(directory: Path) -> dict[tuple[int, str], float]:
    """(step, tag) to value of all files: records of length, checksum, Event message, checksum."""
    found: dict[tuple[int, str], float] = {}
    for path in sorted(directory.iterdir()):
        content, at = path.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            event = Event.FromString(content[at + 12 : at + 12 + length])
            found |= {(event.step, value.tag): value.simple_value for value in event.summary.value}
            at += length + 16
    return found


def test_event_files_hold_the_metrics(make_run: Callable[..., str], tmp_path: Path) -> None:
    pattern, out = make_run(tmp_path / "shards"), tmp_path / "run"
    with Progress("train", "steps", quiet=True) as progress:
        fit(config(pattern, out, tensorboard=True), progress)
    records = read_metrics(out / "metrics.jsonl")
    scalars = read_events(out / "tensorboard")
    expected = {record["step"]: record["val_top5_error"] for record in records if record["kind"] == "epoch"}
    assert {step: scalars[step, "val_top5_error"] for step in expected} == pytest.approx(expected)
    rates = {record["step"]: record["rates"]["fc6.bias"] for record in records if record["kind"] == "step"}
    assert {step: scalars[step, "rates/fc6.bias"] for step in rates} == pytest.approx(rates)


def test_numbers_of_nested_records() -> None:
    record = {"epoch": 3, "rates": {"conv1.weight": 0.5}, "bound_by": "disk", "val_top1_error": None, "flag": True}
    assert dict(numbers(record)) == {"epoch": 3.0, "rates/conv1.weight": 0.5}


def test_without_tensorboardx_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Board(None).add(1, {"loss": 2.0})
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(AlexnetError, match=r"tensorboardX is not installed; pip install '\.\[tensorboard\]'"):
        Board(tmp_path)
