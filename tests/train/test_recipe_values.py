"""Every key of a recipe under hundreds of values: refused in a line, or a network that trains a step."""

import json
import random
import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from alexnet_network import AlexNet, DeviceStats, make_optimizer, phase_at, rates_at, set_rates, train_input
from alexnet_network.modelconfig import parameter_count
from alexnet_shards.errors import AlexnetError
from alexnet_train.recipe import Recipe, load_recipe, save_recipe

SMALL = ("width=0.03125", "num_classes=3", "batch_size=2")
LARGEST_BUILT = 30_000_000
INTEGERS = (0, 1, 2, 3, 4, 5, 8, 11, 31, 128, 1000, 65_536, 10**6, 2**31, 2**63 - 1, 2**63, 2**64, 10**40, -1, -5)
FLOATS = (0.0, -0.0, 0.5, 1.0, 2.0, 1e-300, 5e-324, 1e-9, 1e9, 1e300, -1.0, float("nan"), float("inf"), -float("inf"))
WORDS = ("", "relu", "pool", "lrn", "three", "../../victim", "\u00e9\U0001f600", "inputs", "centre", "off", "none")


def toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    return {"NaN": "nan", "Infinity": "inf", "-Infinity": "-inf"}.get(json.dumps(value), json.dumps(value))


def random_value(given: Any, rng: random.Random) -> Any:
    """A value in the place of `given`: mostly of its type, at times another's."""
    if rng.random() < 0.1:
        return rng.choice((*INTEGERS, *FLOATS, *WORDS, True, [], {}))
    if isinstance(given, bool):
        return not given
    if isinstance(given, int):
        return rng.choice((*INTEGERS, rng.randrange(100), max(0, given + rng.randrange(-3, 4))))
    if isinstance(given, float):
        return rng.choice((*FLOATS, rng.random(), given * rng.choice((0.1, 0.5, 2, 10)), -given, rng.randrange(9)))
    if isinstance(given, str):
        return rng.choice(WORDS)
    if isinstance(given, dict):
        return {**given, rng.choice(("conv1", "fc8", "conv9", "weights", "after_epochs")): random_value(1.0, rng)}
    items = [random_value(item, rng) if rng.random() < 0.3 else item for item in given]
    return rng.choice((items, items, items[:-1], items * 2))


def settings(rng: random.Random) -> Iterator[tuple[str, ...]]:
    """For every key six settings, and now and then a second key beside it."""
    table = asdict(load_recipe("released", SMALL))
    keys = [(section, key) for section, values in table.items() if section != "name" for key in values]
    for section, key in keys:
        for _ in range(6):
            chosen = [(section, key)] + ([rng.choice(keys)] if rng.random() < 0.3 else [])
            yield tuple(f"{s}.{k}={toml(random_value(table[s][k], rng))}" for s, k in chosen)


def stats() -> DeviceStats:
    return DeviceStats(
        mean_nchw=torch.full((1, 3, 224, 224), 120.0),
        channel_mean_nchw=torch.full((1, 3, 1, 1), 120.0),
        axes_released=torch.eye(3) * 60,
        axes_paper=torch.eye(3) * 3600,
    )


def train_a_step(recipe: Recipe) -> float:
    """The loss of two images, after their gradients have changed the weights."""
    model = AlexNet(recipe.model, torch.Generator().manual_seed(recipe.train.seed))
    optimizer = make_optimizer(model, recipe.optim)
    names = [name for name, _ in model.named_parameters()]
    set_rates(optimizer, rates_at(recipe.optim, names, 0, progress_epochs=0.5))
    images_nhwc = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8))
    config = recipe.input.in_phase(colour_noise=phase_at(recipe.optim.phases, 0).colour_noise)
    x = train_input(images_nhwc, torch.tensor([True, False]), torch.ones(2, 3), stats(), config)
    loss = functional.cross_entropy(
        model(x), torch.tensor([0, recipe.model.num_classes - 1]), label_smoothing=recipe.train.label_smoothing
    )
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.item()


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.long), pytest.param(2, marks=pytest.mark.long)])
def test_any_value_is_refused_in_a_line_or_trains(seed: int, tmp_path: Path) -> None:
    refused = trained = 0
    for given in settings(random.Random(seed)):
        try:
            recipe = load_recipe("released", (*SMALL, *given))
        except AlexnetError as error:
            assert "\n" not in str(error), given
            assert len(str(error)) < 1500, given
            assert re.search("expected|no such key|missing", str(error)), error
            refused += 1
            continue
        save_recipe(tmp_path / "recipe.toml", recipe)
        assert load_recipe(str(tmp_path / "recipe.toml")) == recipe, given
        model = replace(recipe.model, num_classes=recipe.model.num_classes or 3)
        if parameter_count(model) > LARGEST_BUILT:
            continue
        loss = train_a_step(replace(recipe, model=model))
        assert np.isfinite(loss), (given, loss)
        trained += 1
    assert refused > 150, (refused, trained)
    assert trained > 100, (refused, trained)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("seed=18446744073709551616", "train.seed is 18446744073709551616; expected 0 to"),
        ("pool_px=5", "gives maps of conv1 55, pool1 26"),
        ("conv1_padding_px=[0,0]", "expected 6 at the end"),
        ("label_smoothing=2.0", "train.label_smoothing is 2.0; expected 0 to 1"),
        ("pool_stride_px=0", "model.pool_stride_px is 0; expected 1 to 64"),
        ("hidden=-5", "model.hidden is -5"),
        ("channels=[96,256,-384,384,256]", r"model.channels\[2\] is -384"),
        ("momentum=nan", "optim.momentum is nan"),
        ("learning_rate=inf", "optim.learning_rate is inf"),
        ("noise_scale=nan", "input.noise_scale is nan"),
        ("width=1e300", "model.width is 1e"),
        ("learning_rate=" + "9" * 400, "optim.learning_rate is 9"),
        ("learning_rate=0x" + "f" * 9000, "a number of thousands of digits"),
        ("hidden=250000", "parameters; expected at most"),
        ("view_crop_px=100", "view_crop_px is 100; expected 224 with mean = 'image'"),
        ("checkpoint_every_minutes=nan", "train.checkpoint_every_minutes is nan"),
        ("epochs=three", "train.epochs is 'three'; expected int"),
        ("init_std=[[[[[[1]]]]]]", r"init_std\[0\] is \["),
        ("phases=[]", "optim.phases begin after epochs"),
        ("momentum=" + "[" * 5000, "optim.momentum is"),
    ],
)
def test_what_is_no_recipe_blames_the_setting(setting: str, message: str) -> None:
    with pytest.raises(AlexnetError, match=message) as caught:
        load_recipe("released", ["epochs=2", setting])
    assert str(caught.value).startswith(("--set " + setting[:40], "--set '" + setting[:40]))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_wrong_file_is_blamed_whatever_is_set(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('base = "released"\n[train]\nseed = -1\n')
    with pytest.raises(AlexnetError, match=r"mine\.toml: train\.seed is -1; expected 0 to"):
        load_recipe(str(tmp_path / "mine.toml"), ["epochs=2"])
    assert load_recipe(str(tmp_path / "mine.toml"), ["seed=1"]).train.seed == 1


def test_combinations_that_are_no_network_are_refused() -> None:
    assert load_recipe("released", ["pool_px=2"]).model.pool_px == 2
    with pytest.raises(AlexnetError, match="--set pool_ceil=true: model: an input of 224x224 gives maps of"):
        load_recipe("released", ["pool_px=2", "pool_ceil=true"])
    with pytest.raises(AlexnetError, match="an input of 100x100 gives maps of"):
        load_recipe("caffe", ["input.mean=channel", "view_crop_px=100"])
    with pytest.raises(AlexnetError, match=r"optim.phases.layers: 'conv3'; expected some of conv1, conv2, conv4"):
        load_recipe(
            "without-conv3",
            ["phases=[{after_epochs=0, weights=1.0, biases=2.0, layers={conv3=0.0}, colour_noise=true}]"],
        )


@pytest.mark.parametrize(
    "name", ["../../victim", "a/b", "a\\b", ".hidden", "..", "", " ", "-x", "a\nb", "\x1b[31m", "n" * 999]
)
def test_a_name_that_is_no_plain_name_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(f'base = "released"\nname = {json.dumps(name)}\n')
    with pytest.raises(AlexnetError, match="mine.toml: name is .*; expected a plain name") as caught:
        load_recipe(str(tmp_path / "mine.toml"))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "name", ['say "hi"', "it's", "\u00e9t\u00e9 \U0001f600", "a = b # c", "[train]", "1e5", "{conv1}"]
)
def test_a_saved_recipe_always_loads_again(name: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    for settings_ in (["learning_rate=1e-300", "weight_decay=-0.0"], ["seed=9223372036854775807", "lrn_alpha=5e-324"]):
        recipe = replace(load_recipe("released", settings_), name=name)
        save_recipe(path, recipe)
        again = load_recipe(str(path))
        assert again == recipe
        assert str(again) == str(recipe)  # -0.0 equals 0.0, but is another text
