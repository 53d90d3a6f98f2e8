"""A run that starts from given weights: they are where it starts, other classes get a new layer, misfits are refused."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from alexnet_command.progress import Progress
from alexnet_shards.errors import AlexnetError
from alexnet_shards.manifest import ClassFact
from alexnet_train.checkpoint import load_checkpoint
from alexnet_train.distributed import World
from alexnet_train.loop import fit
from alexnet_train.recipe import load_recipe
from alexnet_train.runconfig import RunConfig
from alexnet_train.startweights import start_weights

SMALL = ("width=0.0625", "batch_size=5", "epochs=1", "num_classes=7")
CLASSES = [ClassFact(wnid=f"n{label:08d}") for label in range(7)]


def config(pattern: str, out: Path, *settings: str, init: Path | None = None) -> RunConfig:
    recipe, world = load_recipe("demo", (*SMALL, *settings)), World(device=torch.device("cpu"))
    return RunConfig(recipe=recipe, shards=[pattern], val_shards=(), stats=None, out_dir=out, world=world, init=init)


def train(run: RunConfig) -> Path:
    with Progress("train", "steps", quiet=True) as progress:
        return Path(fit(run, progress)["checkpoint"])


def test_a_run_starts_where_the_weights_are(make_run: Callable[..., str], tmp_path: Path) -> None:
    pattern = make_run(tmp_path / "shards")
    first = train(config(pattern, tmp_path / "first"))
    # At a rate of nothing the weights stay where they were; the averaged ones too.
    settings = ("learning_rate=1e-30", "seed=5", "average_decay=0.5")
    path = train(config(pattern, tmp_path / "second", *settings, init=first))
    for name, tensor in load_checkpoint(first)["model"].items():
        assert torch.equal(load_checkpoint(path)["model"][name], tensor), name
        assert torch.equal(load_checkpoint(path)["average"][name], tensor), name
    # Started again it goes on, and does not begin with those weights anew.
    longer = config(pattern, tmp_path / "second", *settings, "epochs=2", init=tmp_path / "gone.pt")
    assert load_checkpoint(train(longer))["epoch"] == 2


def test_other_classes_get_a_new_last_layer(make_run: Callable[..., str], tmp_path: Path) -> None:
    first = train(config(make_run(tmp_path / "shards"), tmp_path / "first"))
    said: list[str] = []
    recipe = load_recipe("demo", (*SMALL, "num_classes=3"))
    weights = start_weights(first, recipe, CLASSES[:3], said.append)
    given = load_checkpoint(first)["model"]
    assert weights["fc8.weight"].shape[0] == 3
    assert all(torch.equal(weights[name], given[name]) for name in given if not name.startswith("fc8."))
    assert said == [f"starting from the weights of {first}, fc8 drawn anew for other classes"]
    renamed = [*CLASSES[:6], ClassFact(wnid="n99999999")]
    weights = start_weights(first, load_recipe("demo", SMALL), renamed, said.append)
    assert not torch.equal(weights["fc8.weight"], given["fc8.weight"])


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ("width=0.125", "model.width is 0.0625 there, 0.125 in recipe demo"),
        ("lrn_k=1.0", "model.lrn_k is 2.0 there, 1.0 in recipe demo"),
        ("view_divide_by=57.4", "its inputs are divided by 1, those of recipe demo by 57.4"),
    ],
)
def test_misfits_are_refused(setting: str, line: str, make_run: Callable[..., str], tmp_path: Path) -> None:
    first = train(config(make_run(tmp_path / "shards"), tmp_path / "first"))
    with pytest.raises(AlexnetError) as caught:
        start_weights(first, load_recipe("demo", (*SMALL, setting)), CLASSES, print)
    assert line in str(caught.value)
