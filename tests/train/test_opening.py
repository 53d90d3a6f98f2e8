"""A run opened: one look at the newest checkpoint, nothing touched before all is checked, older versions gone on from."""

import sys
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from alexnet_command.progress import Progress
from alexnet_shards.errors import AlexnetError
from alexnet_stream import Stop
from alexnet_train import rundir
from alexnet_train.checkpoint import FORMAT, Look, list_checkpoints, load_checkpoint, look_at
from alexnet_train.distributed import World
from alexnet_train.loop import fit
from alexnet_train.opening import open_run
from alexnet_train.recipe import load_recipe
from alexnet_train.runconfig import RunConfig

SMALL = ("width=0.0625", "batch_size=5", "log_every_steps=2", "epochs=2", "keep_checkpoints=100")


def config(pattern: str, out: Path, *settings: str, **options: Any) -> RunConfig:
    recipe, world = load_recipe("demo", (*SMALL, *settings)), World(device=torch.device("cpu"))
    return RunConfig(recipe=recipe, shards=[pattern], val_shards=(), stats=None, out_dir=out, world=world, **options)


def train(run: RunConfig) -> dict[str, Any]:
    with Progress("train", "steps", quiet=True) as progress:
        return fit(run, progress)


def listing(out: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file() and path.name != ".lock"}


def test_the_newest_checkpoint_is_loaded_once(
    make_run: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, looked = config(make_run(tmp_path / "shards"), tmp_path / "run"), []

    def look(path: Path) -> Look:
        looked.append(path.name)
        return look_at(path)

    monkeypatch.setattr(rundir, "look_at", look)
    train(run)
    assert looked == []
    with Progress("train", "steps", quiet=True) as progress, open_run(run, progress, Stop()) as opened:
        assert looked == ["step-00000006.pt"]
        assert (opened.stepper.step, opened.stream.state_dict()["epoch"], opened.stream.state_dict()["position"]) == (
            6,
            2,
            0,
        )
        assert [record["epoch"] for record in opened.records] == [1, 2]


def test_what_was_loaded_is_not_kept_in_memory_beside_the_network(
    make_run: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, loaded = config(make_run(tmp_path / "shards"), tmp_path / "run", "epochs=1"), []

    def look(path: Path) -> Look:
        found = look_at(path)
        loaded.append(weakref.ref((found.content or {})["model"]["fc6.weight"]))
        return found

    train(run)
    monkeypatch.setattr(rundir, "look_at", look)
    with Progress("train", "steps", quiet=True) as progress, open_run(run, progress, Stop()):
        assert [reference() for reference in loaded] == [None]


def test_fresh_touches_nothing_before_all_is_checked(
    make_run: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without tensorboardX it deleted the old run, then failed."""
    run = config(make_run(tmp_path / "shards"), tmp_path / "run")
    train(run)
    before = listing(tmp_path)
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(AlexnetError, match="tensorboardX is not installed"):
        train(replace(run, fresh=True, trackers=["csv", "tensorboard"]))
    with pytest.raises(AlexnetError, match="fewer|less than one batch"):
        train(replace(run, fresh=True, recipe=load_recipe("demo", (*SMALL, "batch_size=500"))))
    assert listing(tmp_path) == before
    train(replace(run, fresh=True))
    after = listing(tmp_path)
    for path, content in before.items():
        moved = path.replace(str(tmp_path / "run") + "/", str(tmp_path / "run.old-1") + "/")
        assert after[moved] == content


@pytest.mark.parametrize("variable", ["TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"])
def test_fresh_is_done_once_a_launch(
    variable: str, make_run: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restarted worker wiped the run's own progress."""
    run = replace(config(make_run(tmp_path / "shards"), tmp_path / "run"), fresh=True)
    monkeypatch.setenv(variable, "0")
    train(run)
    monkeypatch.setenv(variable, "1")
    longer = replace(run, recipe=load_recipe("demo", (*SMALL, "epochs=3")))
    assert train(longer)["step"] == 9
    assert not (tmp_path / "run.old-1").exists()
    assert [path.name for path in list_checkpoints(tmp_path / "run" / "checkpoints")] == [
        "step-00000003.pt", "step-00000006.pt", "step-00000009.pt",
    ]  # fmt: skip


def as_version_2(path: Path, *lacking: str) -> None:
    """Write the checkpoint at `path` as the version before did, without the recipe's `lacking` input keys."""
    content = load_checkpoint(path)
    content["val_errors"] = [record["val_top1_error"] for record in content.pop("records")]
    del content["written"]
    for key in lacking:
        del content["recipe"]["input"][key]
    torch.save(content | {"format": FORMAT, "version": 2}, path)


def test_a_checkpoint_of_version_2_goes_on(make_run: Callable[..., str], tmp_path: Path) -> None:
    pattern = make_run(tmp_path / "shards")
    straight = train(config(pattern, tmp_path / "straight", "epochs=4"))
    train(config(pattern, tmp_path / "old"))
    for path in list_checkpoints(tmp_path / "old" / "checkpoints"):
        as_version_2(path, "view_crop_px")
    went_on = train(config(pattern, tmp_path / "old", "epochs=4"))
    assert (went_on["train_loss"], went_on["val_top1_error"]) == (straight["train_loss"], straight["val_top1_error"])
    ends = [load_checkpoint(list_checkpoints(tmp_path / name / "checkpoints")[-1]) for name in ("straight", "old")]
    for name, tensor in ends[0]["model"].items():
        assert torch.equal(tensor, ends[1]["model"][name]), name
    assert [record["epoch"] for record in ends[1]["records"]] == [1, 2, 3, 4]
    best = [load_checkpoint(tmp_path / name / "checkpoints" / "best.pt")["step"] for name in ("straight", "old")]
    assert best[0] == best[1]
