"""A checkpoint of another run is refused."""

import copy
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from alexnet_shards.adopt import LabelRules, index_shards
from alexnet_shards.errors import AlexnetError, FormatError
from alexnet_shards.labels import LabelPlace
from alexnet_shards.shardset import open_shards
from alexnet_train.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from alexnet_train.recipe import Recipe, load_recipe, recipe_from_dict
from alexnet_train.resume import check_same_place, check_same_run, check_state
from alexnet_train.rundata import RunData, open_run_data


def test_another_recipe_or_other_shards_are_refused(make_run: Callable[..., str], tmp_path: Path) -> None:
    data, recipe = open_run_data([make_run(tmp_path)], (), None), load_recipe("demo", ["num_classes=7"])
    content = {"recipe": asdict(recipe), "shards": data.train.fingerprint}
    path = tmp_path / "step-00000001.pt"
    check_same_run(path, content, recipe, data)
    free = ["num_classes=7", "epochs=500", "keep_checkpoints=9", "log_every_steps=1", "checkpoint_every_minutes=5"]
    check_same_run(path, content, replace(load_recipe("demo", free), name="other"), data)
    with pytest.raises(AlexnetError, match=r"optim.learning_rate was 0.01, now 0.5"):
        check_same_run(path, content, load_recipe("demo", ["num_classes=7", "learning_rate=0.5"]), data)
    with pytest.raises(AlexnetError, match=r"train.batch_size was 32, now 64; choose another --out"):
        check_same_run(path, content, load_recipe("demo", ["num_classes=7", "batch_size=64"]), data)
    with pytest.raises(AlexnetError, match="other training shards"):
        check_same_run(path, content | {"shards": "0" * 64}, recipe, data)


def test_other_labels_of_the_same_shards_are_refused(
    shard_tools: SimpleNamespace, make_run: Callable[..., str], tmp_path: Path
) -> None:
    tar = tmp_path / "train-000.tar"
    labels = [("0", {"coarse": 0, "fine": 1}), ("1", {"coarse": 1, "fine": 0})]
    members = [
        (f"{key}{suffix}", text)
        for key, both in labels
        for suffix, text in ((".jpg", b"jpeg"), (".json", json.dumps(both).encode()))
    ]
    shard_tools.write_tar(tar, members)
    stats = open_run_data([make_run(tmp_path / "other")], (), None).stats
    recipe = load_recipe("demo", ["num_classes=2"])

    def indexed(field: str) -> RunData:
        index_shards([str(tar)], 1, lambda done, total: None, LabelRules(place=LabelPlace.parse(f"json:{field}")))
        return RunData(train=open_shards([str(tar)]), val=None, stats=stats)

    before = indexed("coarse")
    path, content = tmp_path / "step-00000001.pt", {"recipe": asdict(recipe), "shards": before.train.fingerprint}
    now = indexed("fine")
    assert now.train.fingerprint == before.train.fingerprint
    check_same_run(path, content, recipe, now)  # of a version that did not keep the labels
    with pytest.raises(AlexnetError, match="with other labels or in another order"):
        check_same_run(path, content | {"rows": before.train.rows_sha256}, recipe, now)
    check_same_run(path, content | {"rows": before.train.rows_sha256}, recipe, indexed("coarse"))


def test_the_same_shards_in_another_order_are_refused(make_run: Callable[..., str], tmp_path: Path) -> None:
    both = [make_run(tmp_path / name, sizes) for name, sizes in (("a", (5,)), ("b", (6,)))]
    stats = open_run_data(both[:1], (), None).stats
    there, back = (RunData(train=open_shards(names), val=None, stats=stats) for names in (both, both[::-1]))
    recipe = load_recipe("demo", ["num_classes=7"])
    content = {"recipe": asdict(recipe), "shards": there.train.fingerprint, "rows": there.train.rows_sha256}
    check_same_run(tmp_path / "step-00000001.pt", content, recipe, there)
    with pytest.raises(AlexnetError, match="with other labels or in another order"):
        check_same_run(tmp_path / "step-00000001.pt", content, recipe, back)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, make_run: Callable[..., str], run: Any) -> tuple[str, Path]:
    """The shards and the folder of a run of one epoch."""
    folder = tmp_path_factory.mktemp("trained")
    pattern = make_run(folder / "shards")
    words = ("train", "--shards", pattern, "--recipe", "demo", "--set", "width=0.0625", "--set", "batch_size=5")
    done = run(*words, "--set", "epochs=1", "--out", str(folder / "run"), "--device", "cpu")
    assert done.exit_code == 0, done.output
    return pattern, folder / "run"


def changed(content: dict[str, Any], *place: Any, value: Any) -> dict[str, Any]:
    """A copy with another value in one place; None takes it out."""
    content = copy.deepcopy(content)
    part = content
    for key in place[:-1]:
        part = part[key]
    if value is None:
        del part[place[-1]]
    else:
        part[place[-1]] = value
    return content


CHANGES: list[tuple[tuple[Any, ...], Any, str]] = [
    (("step",), -1, "step"),
    (("step",), "4", "step"),
    (("epoch",), 1.5, "epoch"),
    (("stream",), [1, 0], "stream"),
    (("stream", "position"), None, "stream"),
    (("epoch_tally",), [0.0, 0.0], "epoch_tally"),
    (("log_tally",), {"loss": 1.0}, "log_tally"),
    (("scaler",), 2.0, "scaler"),
    (("scaler",), {"scale": "large"}, "scaler"),
    (("written",), "2", "written"),
    (("written",), [2, -5], "written"),
    (("records", 0, "val_top1_error"), "half", "records"),
    (
        ("optimizer", "state", 0, "velocity"),
        torch.zeros(6, 3, 11, 11).half(),
        "optimizer: the velocity of conv1.weight",
    ),
    (
        ("optimizer", "state", 0, "velocity"),
        torch.zeros(6, 3, 11, 11).to_sparse(),
        "optimizer: the velocity of conv1.weight",
    ),
    (
        ("optimizer", "state", 0, "velocity"),
        torch.full((6, 3, 11, 11), torch.nan),
        "optimizer: the velocity of conv1.weight",
    ),
    (("records",), {"1": 2}, "records"),
    (("records", 0, "step"), None, "records"),
    (("optimizer",), 7, "optimizer"),
    (("optimizer", "state"), None, "optimizer"),
    (("optimizer", "param_groups"), [], "optimizer: its list of weights"),
    (("optimizer", "param_groups", 0, "name"), "conv9.weight", "optimizer: its list of weights"),
    (("optimizer", "state", 99), {}, "optimizer: its list of weights"),
    (("optimizer", "param_groups", 0, "rate"), None, "optimizer: conv1.weight"),
    (("optimizer", "param_groups", 1, "momentum"), float("nan"), "optimizer: conv1.bias"),
    (("optimizer", "param_groups", 1, "params"), [0], "optimizer: conv1.bias"),
    (("optimizer", "state", 0, "velocity"), torch.zeros(3), "optimizer: the velocity of conv1.weight"),
    (("optimizer", "state", 3), {"momentum_buffer": torch.zeros(16)}, "optimizer: the velocity of conv2.bias"),
]


@pytest.mark.parametrize(("place", "value", "words"), CHANGES)
def test_a_state_that_somebody_changed_is_one_line(
    trained: tuple[str, Path], place: tuple[Any, ...], value: Any, words: str
) -> None:
    """Each was a traceback, or a run that went on with it."""
    path = list_checkpoints(trained[1] / "checkpoints")[-1]
    content = load_checkpoint(path)
    check_state(path, content)
    with pytest.raises(FormatError, match=re.escape(f"{path}: {words} is not as alexnet-train writes it")) as caught:
        check_state(path, changed(content, *place, value=value))
    assert "\n" not in str(caught.value)


def test_a_run_does_not_touch_what_it_cannot_go_on_from(trained: tuple[str, Path], run: Any, tmp_path: Path) -> None:
    pattern, folder = trained
    shutil.copytree(folder, tmp_path / "run")
    path = list_checkpoints(tmp_path / "run/checkpoints")[-1]
    content = changed(load_checkpoint(path), "optimizer", "state", 0, "velocity", value=torch.zeros(3))
    save_checkpoint(path, content)
    before = {each: each.read_bytes() for each in (tmp_path / "run").rglob("*") if each.is_file()}
    words = ("train", "--shards", pattern, "--recipe", "demo", "--set", "width=0.0625", "--set", "batch_size=5")
    done = run(*words, "--set", "epochs=2", "--out", str(tmp_path / "run"), "--device", "cpu")
    assert done.exit_code == 1
    assert "the velocity of conv1.weight is not as alexnet-train writes it" in done.output
    after = {each: each.read_bytes() for each in (tmp_path / "run").rglob("*") if each.is_file()}
    assert {each: after.get(each) for each in before} == before


PLACES: list[tuple[tuple[Any, ...], Any]] = [
    (("step",), 1),
    (("step",), 2**62),
    (("epoch",), 7),
    (("stream", "epoch"), 2**70),
    (("stream", "position"), 3),
    (("stream",), [1, 0]),
]


@pytest.mark.parametrize(("place", "value"), PLACES)
def test_a_place_that_is_not_that_of_the_step_is_refused(
    trained: tuple[str, Path], place: tuple[Any, ...], value: Any
) -> None:
    """A run went on with it, or was taken for one at its end."""
    path, content, recipe, data = opened(trained)
    check_same_place(path, content, recipe, data)
    with pytest.raises(FormatError, match="step, epoch or stream is not as alexnet-train writes it"):
        check_same_place(path, changed(content, *place, value=value), recipe, data)


def test_another_class_list_for_the_same_labels_is_refused(trained: tuple[str, Path]) -> None:
    """The run's outputs would get other names from there on."""
    path, content, recipe, data = opened(trained)
    with pytest.raises(AlexnetError, match="with another class list"):
        check_same_place(path, changed(content, "classes", value=content["classes"][::-1]), recipe, data)


def opened(trained: tuple[str, Path]) -> tuple[Path, dict[str, Any], Recipe, RunData]:
    path = list_checkpoints(trained[1] / "checkpoints")[-1]
    content = load_checkpoint(path)
    return path, content, recipe_from_dict(content["recipe"], str(path)), open_run_data([trained[0]], [], None)
