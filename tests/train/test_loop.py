"""Training: learns, writes what it promises, and continues bit for bit from any checkpoint."""

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from alexnet_command.progress import Progress
from alexnet_shards.errors import AlexnetError
from alexnet_train.checkpoint import list_checkpoints, load_checkpoint
from alexnet_train.distributed import World
from alexnet_train.evaluate import EvalConfig, evaluate, load_classifier
from alexnet_train.loop import fit
from alexnet_train.metrics import read_metrics
from alexnet_train.recipe import load_recipe
from alexnet_train.runconfig import RunConfig
from alexnet_train.rundata import open_run_data

SMALL = ("width=0.0625", "batch_size=5", "log_every_steps=2", "epochs=3", "keep_checkpoints=100")
TIMES = {"images_per_second", "data_wait_fraction", "checkpoint", "memory_bytes", "bound_by"}
EVALUATION = EvalConfig(views=1, batch_size=4, world=World(device=torch.device("cpu")))


def config(pattern: str, out_dir: Path, *settings: str) -> RunConfig:
    recipe = load_recipe("demo", (*SMALL, *settings))
    world = World(device=torch.device("cpu"))
    return RunConfig(recipe=recipe, shards=[pattern], val_shards=(), stats=None, out_dir=out_dir, world=world)


def train(pattern: str, out_dir: Path, *settings: str) -> dict[str, Any]:
    with Progress("train", "steps", quiet=True) as progress:
        return fit(config(pattern, out_dir, *settings), progress)


def timeless(out_dir: Path) -> list[dict[str, Any]]:
    """The metrics that may not depend on how often a run was stopped."""
    records = read_metrics(out_dir / "metrics.jsonl")
    return [{key: value for key, value in record.items() if key not in TIMES} for record in records]


def tensors(path: Path) -> dict[str, torch.Tensor]:
    content = load_checkpoint(path)
    velocities = {f"velocity {key}": state["velocity"] for key, state in content["optimizer"]["state"].items()}
    return {**content["model"], **velocities}


def assert_equal_ends(one: Path, other: Path) -> None:
    paths = [list_checkpoints(run / "checkpoints")[-1] for run in (one, other)]
    assert paths[0].name == paths[1].name
    first, second = (tensors(path) for path in paths)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
    assert timeless(one) == timeless(other)


def test_a_run_writes_its_files_and_its_last_record(make_run: Callable[..., str], tmp_path: Path) -> None:
    pattern = make_run(tmp_path / "shards")
    record = train(pattern, tmp_path / "run")
    assert (record["epoch"], record["step"]) == (3, 9)
    assert record.keys() >= {
        "train_loss", "val_top1_error", "val_top5_error", "images_per_second", "data_wait_fraction", "checkpoint",
    }  # fmt: skip
    assert 0 <= record["val_top1_error"] <= 1
    assert Path(record["checkpoint"]) == list_checkpoints(tmp_path / "run" / "checkpoints")[-1]
    assert [path.name for path in list_checkpoints(tmp_path / "run" / "checkpoints")] == [
        "step-00000003.pt",
        "step-00000006.pt",
        "step-00000009.pt",
    ]
    kinds = [(record["kind"], record["step"]) for record in timeless(tmp_path / "run")]
    assert kinds == [
        ("step", 2), ("epoch", 3), ("step", 4), ("step", 6), ("epoch", 6), ("step", 8), ("epoch", 9),
    ]  # fmt: skip
    epochs = [record["epoch"] for record in timeless(tmp_path / "run")]
    assert epochs == [1, 1, 2, 2, 2, 3, 3]  # of each line the epoch that its step is of
    assert load_recipe(str(tmp_path / "run" / "recipe.toml")).model.num_classes == 7


def test_it_learns_seven_images_by_heart(make_run: Callable[..., str], tmp_path: Path) -> None:
    pattern = make_run(tmp_path / "shards", (7,), ())
    settings = ("batch_size=7", "epochs=60", "keep_checkpoints=1", "noise=off", "learning_rate=0.003", "dropout=0.0")
    # Deviations and biases at which even six conv1 filters pass signal.
    stds, biases = "init_std=[0.01, 0.1, 0.1, 0.12, 0.12, 0.05, 0.1, 0.01]", "init_bias=[0, 0, 0, 0, 0, 0, 0, 0]"
    record = train(pattern, tmp_path / "run", *settings, stds, biases)
    losses = [r["train_loss"] for r in read_metrics(tmp_path / "run" / "metrics.jsonl") if r["kind"] == "epoch"]
    assert losses[0] > 1.8  # log(7) is 1.95
    assert record["train_loss"] < 0.7
    assert record["val_top1_error"] is None


@pytest.mark.parametrize("lost", [1, 2, 4])
def test_a_run_continued_from_any_checkpoint_ends_the_same(
    lost: int, make_run: Callable[..., str], tmp_path: Path
) -> None:
    pattern = make_run(tmp_path / "shards")
    every = "checkpoint_every_steps=2"
    train(pattern, tmp_path / "straight", every)
    shutil.copytree(tmp_path / "straight", tmp_path / "stopped")
    for path in list_checkpoints(tmp_path / "stopped" / "checkpoints")[-lost:]:
        path.unlink()
    with (tmp_path / "stopped" / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "st')
    train(pattern, tmp_path / "stopped", every)
    assert_equal_ends(tmp_path / "straight", tmp_path / "stopped")


ONE_PHASE = "phases=[{after_epochs=0, weights=1.0, biases=2.0, layers={}, colour_noise=true}]"


@pytest.mark.parametrize("rule", ["paper", "torch"])
def test_a_continued_run_with_every_variant_of_the_update_ends_the_same(
    rule: str, make_run: Callable[..., str], tmp_path: Path
) -> None:
    pattern = make_run(tmp_path / "shards")
    settings = (f"rule={rule}", "nesterov=true", "clip_norm=0.5", "cosine_epochs=3", "decay_biases=true", "init=torch")
    options = ("checkpoint_every_steps=1", "keep_checkpoints=9", "log_every_steps=1", ONE_PHASE, *settings)
    train(pattern, tmp_path / "straight", *options)
    rates = [
        r["rates"]["fc8.weight"] for r in read_metrics(tmp_path / "straight" / "metrics.jsonl") if r["kind"] == "step"
    ]
    top = load_recipe("demo").optim.learning_rate
    # The rate that the next step will take, of nine.
    assert rates == pytest.approx([top * (1 + math.cos(math.pi * step / 9)) / 2 for step in range(1, 10)])
    shutil.copytree(tmp_path / "straight", tmp_path / "stopped")
    for path in list_checkpoints(tmp_path / "stopped" / "checkpoints")[4:]:
        path.unlink()
    train(pattern, tmp_path / "stopped", *options)
    assert_equal_ends(tmp_path / "straight", tmp_path / "stopped")


def test_a_run_in_two_parts_equals_one(make_run: Callable[..., str], tmp_path: Path) -> None:
    pattern = make_run(tmp_path / "shards")
    train(pattern, tmp_path / "whole")
    train(pattern, tmp_path / "parts", "epochs=1")
    train(pattern, tmp_path / "parts")
    assert_equal_ends(tmp_path / "whole", tmp_path / "parts")


def test_a_finished_run_started_again_changes_nothing(make_run: Callable[..., str], tmp_path: Path) -> None:
    pattern = make_run(tmp_path / "shards")
    first = train(pattern, tmp_path / "run")
    assert train(pattern, tmp_path / "run") == first


def test_a_damaged_checkpoint_is_named_and_the_one_before_used(
    make_run: Callable[..., str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pattern = make_run(tmp_path / "shards")
    train(pattern, tmp_path / "straight")
    shutil.copytree(tmp_path / "straight", tmp_path / "damaged")
    newest = list_checkpoints(tmp_path / "damaged" / "checkpoints")[-1]
    newest.write_bytes(newest.read_bytes()[:-1000])
    (tmp_path / "damaged" / "checkpoints" / "best.pt").unlink()
    with Progress("train", "steps") as progress:
        fit(config(pattern, tmp_path / "damaged"), progress)
    err = capfd.readouterr().err
    assert f"warning: {newest}" in err
    assert "step-00000006.pt: step 6, 2 of 3 epochs done" in err
    assert_equal_ends(tmp_path / "straight", tmp_path / "damaged")


def test_best_checkpoint_is_that_of_the_lowest_error(make_run: Callable[..., str], tmp_path: Path) -> None:
    train(make_run(tmp_path / "shards"), tmp_path / "run", "keep_checkpoints=1")
    epochs = [record for record in read_metrics(tmp_path / "run" / "metrics.jsonl") if record["kind"] == "epoch"]
    lowest = min(record["val_top1_error"] for record in epochs)
    best = [record["step"] for record in epochs if record["val_top1_error"] == lowest][-1]
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "best.pt")["step"] == best
    assert [path.name for path in list_checkpoints(tmp_path / "run" / "checkpoints")] == ["step-00000009.pt"]


def test_bfloat16_smoothing_and_warm_up_are_switches(make_run: Callable[..., str], tmp_path: Path) -> None:
    pattern = make_run(tmp_path / "shards")
    settings = {
        "plain": "seed=0",
        "half": "precision=bfloat16",
        "smooth": "label_smoothing=0.1",
        "warm": "warmup_epochs=1",
    }
    losses = {name: train(pattern, tmp_path / name, setting)["train_loss"] for name, setting in settings.items()}
    assert len(set(losses.values())) == 4
    assert losses["half"] == pytest.approx(losses["plain"], rel=0.05)
    content = load_checkpoint(list_checkpoints(tmp_path / "half" / "checkpoints")[-1])
    assert all(tensor.dtype == torch.float32 for tensor in content["model"].values())
    steps = [record for record in read_metrics(tmp_path / "warm" / "metrics.jsonl") if record["kind"] == "step"]
    assert steps[0]["rates"]["conv1.weight"] == pytest.approx(0.01 * 2 / 3)
    assert steps[-1]["rates"]["conv1.weight"] == pytest.approx(0.01)


def test_a_loss_that_is_not_finite_ends_the_run(make_run: Callable[..., str], tmp_path: Path) -> None:
    pattern = make_run(tmp_path / "shards")
    with pytest.raises(AlexnetError, match="not finite at step 1 .* lower learning_rate"):
        train(pattern, tmp_path / "run", "learning_rate=1e30")
    assert [path.name for path in (tmp_path / "run").glob("bad-batch-*")] == ["bad-batch-00000001.pt"]
    assert not list_checkpoints(tmp_path / "run" / "checkpoints")


def test_seeds_change_the_run(make_run: Callable[..., str], tmp_path: Path) -> None:
    pattern = make_run(tmp_path / "shards")
    losses = {train(pattern, tmp_path / seed, "epochs=1", f"seed={seed}")["train_loss"] for seed in ("1", "2")}
    assert len(losses) == 2


def test_weights_are_averaged_over_steps(make_run: Callable[..., str], tmp_path: Path) -> None:
    """The average by the formula, from a checkpoint of every step; validation and alexnet-eval use it."""
    pattern = make_run(tmp_path / "shards")
    settings = ("average_decay=0.75", "checkpoint_every_steps=1")
    record = train(pattern, tmp_path / "run", *settings)
    contents = [load_checkpoint(path) for path in list_checkpoints(tmp_path / "run" / "checkpoints")]
    expected = contents[0]["model"]
    for content in contents[1:]:
        expected = {name: 0.75 * tensor + 0.25 * content["model"][name] for name, tensor in expected.items()}
    for name, tensor in expected.items():
        torch.testing.assert_close(contents[-1]["average"][name], tensor, msg=name)
    classifier = load_classifier(Path(record["checkpoint"]), torch.device("cpu"))
    assert torch.equal(classifier.model.get_parameter("fc8.weight"), contents[-1]["average"]["fc8.weight"])
    evaluated = evaluate([classifier], open_run_data([pattern], (), None).val, EVALUATION)  # type: ignore[arg-type]
    assert evaluated.top1_error == record["val_top1_error"]
    for path in list_checkpoints(tmp_path / "run" / "checkpoints")[-4:]:
        path.unlink()
    train(pattern, tmp_path / "run", *settings)
    continued = load_checkpoint(Path(record["checkpoint"]))["average"]
    assert all(torch.equal(continued[name], tensor) for name, tensor in contents[-1]["average"].items())


def test_rates_drop_on_a_plateau(make_run: Callable[..., str], tmp_path: Path) -> None:
    pattern = make_run(tmp_path / "shards")
    settings = ("epochs=8", "plateau_epochs=1", "plateau_drops=2", "learning_rate=1e-9", "log_every_steps=3")
    train(pattern, tmp_path / "whole", *settings)
    records = read_metrics(tmp_path / "whole" / "metrics.jsonl")
    rates = [record["rates"]["fc8.weight"] for record in records if record["kind"] == "step"]
    assert rates[:5] == pytest.approx([1e-9, 1e-9, 1e-10, 1e-11, 1e-11])  # nothing is learned: errors stay
    train(pattern, tmp_path / "parts", "epochs=2", *settings[1:])
    train(pattern, tmp_path / "parts", *settings)
    assert_equal_ends(tmp_path / "whole", tmp_path / "parts")
    with pytest.raises(AlexnetError, match="plateau_epochs is 1 but there are no validation shards"):
        train(make_run(tmp_path / "blind", val_sizes=()), tmp_path / "run", *settings)


def test_fresh_begins_anew_in_the_same_directory(make_run: Callable[..., str], tmp_path: Path) -> None:
    pattern, out = make_run(tmp_path / "shards"), tmp_path / "run"
    train(pattern, out, "seed=1")
    (out / "notes.txt").write_text("mine")
    with pytest.raises(AlexnetError, match="train.seed was 1, now 0; choose another --out, or --fresh"):
        train(pattern, out)
    with Progress("train", "steps", quiet=True) as progress:
        fit(replace(config(pattern, out), fresh=True), progress)
    train(pattern, tmp_path / "other")
    assert_equal_ends(out, tmp_path / "other")
    assert (out / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("epochs", [10, pytest.param(80, marks=pytest.mark.long)])
def test_memory_is_flat(make_run: Callable[..., str], tmp_path: Path, epochs: int) -> None:
    """Over thousands of steps of many epochs, checkpoints and validations; a few hundred in the short form."""
    pattern = make_run(tmp_path / "shards", (25, 25), (3,))
    settings = ("batch_size=2", "width=0.03125", f"epochs={epochs}", "log_every_steps=5", "keep_checkpoints=2")
    record = train(pattern, tmp_path / "run", *settings)
    assert record["step"] == 25 * epochs
    memory = [record["memory_bytes"] for record in read_metrics(tmp_path / "run" / "metrics.jsonl")]
    quarter = len(memory) // 4
    assert max(memory[-quarter:]) - max(memory[quarter : 2 * quarter]) < 8 << 20
