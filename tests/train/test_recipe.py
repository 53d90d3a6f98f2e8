"""Recipes: inheritance, overrides, refusals with the nearest key, and the saved copy."""

import tomllib
from pathlib import Path

import pytest

from alexnet_network import rates_at
from alexnet_shards.errors import AlexnetError
from alexnet_train.recipe import RECIPES_DIR, load_recipe, recipe_from_dict, recipe_names, save_recipe


def test_released_numbers() -> None:
    recipe = load_recipe("released")
    assert (recipe.name, recipe.train.batch_size, recipe.train.epochs) == ("released", 128, 93)
    assert (recipe.optim.learning_rate, recipe.optim.momentum, recipe.optim.weight_decay) == (0.01, 0.9, 0.0005)
    assert recipe.model.init_std == (0.01, 0.01, 0.03, 0.03, 0.03, 0.01, 0.01, 0.01)
    assert (recipe.input.noise, recipe.input.noise_scale, recipe.input.noise_divide_by) == ("released", 0.1, 1.1)


def test_the_papers_words() -> None:
    """Section 5: from 0.01, the same for all layers, divided by 10 three times; roughly 90 cycles."""
    recipe = load_recipe("paper")
    names = ["conv1.weight", "conv1.bias", "fc8.weight", "fc8.bias"]
    for epochs_done, drops in ((0, 0), (22, 0), (23, 1), (51, 2), (72, 2), (78, 3), (90, 3)):
        found = rates_at(recipe.optim, names, epochs_done)
        assert list(found.values()) == pytest.approx([0.01 / 10**drops] * 4), epochs_done
    assert recipe.train.epochs == 90
    assert recipe.model.init_std == (0.01,) * 8
    assert not recipe.model.lrn_alpha_over_size
    assert (recipe.model.after_conv1, recipe.model.after_conv2) == (("relu", "lrn", "pool"),) * 2
    assert all(phase.colour_noise for phase in recipe.optim.phases)


def test_ablations_leave_out_what_they_are_named_after() -> None:
    released = load_recipe("released")
    assert (released.input.noise, released.model.dropout) == ("released", 0.5)
    assert load_recipe("no-colour").input.noise == "off"
    assert load_recipe("no-dropout").model.dropout == 0
    stages = [load_recipe("no-lrn").model.after_conv1, load_recipe("no-lrn").model.after_conv2]
    assert not {"lrn", "same_map_norm"} & {stage for after in stages for stage in after}
    assert load_recipe("one-tower").model.towers == 1


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_loads_and_its_saved_copy_is_equal(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    save_recipe(tmp_path / f"{name}.toml", recipe)
    assert load_recipe(str(tmp_path / f"{name}.toml")) == recipe


@pytest.mark.parametrize("name", recipe_names())
def test_every_number_of_a_recipe_has_its_source(name: str) -> None:
    section_cited = False
    for line in (RECIPES_DIR / f"{name}.toml").read_text().splitlines():
        if line.startswith(("#", "[")):
            section_cited = "#" in line or (section_cited and line.startswith("["))
        elif line.strip() and not line.startswith("base"):
            assert "#" in line or section_cited, f"{name}: {line}"


@pytest.mark.parametrize(
    ("setting", "section", "key", "value"),
    [
        ("epochs=2", "train", "epochs", 2),
        ("batch_size=16", "train", "batch_size", 16),
        ("seed=7", "train", "seed", 7),
        ("learning_rate=1", "optim", "learning_rate", 1.0),
        ("optim.learning_rate=0.5", "optim", "learning_rate", 0.5),
        ("num_classes=10", "model", "num_classes", 10),
        ("width=0.25", "model", "width", 0.25),
        ("checkpoint_every_steps=5", "train", "checkpoint_every_steps", 5),
        ("noise=off", "input", "noise", "off"),
        ('after_conv1=["relu", "pool"]', "model", "after_conv1", ("relu", "pool")),
    ],
)
def test_settings(setting: str, section: str, key: str, value: object) -> None:
    found = getattr(getattr(load_recipe("released", [setting]), section), key)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("epoch=2", "did you mean epochs"),
        ("optim.learn_rate=1", "did you mean optim.learning_rate"),
        ("epochs", "expected key=value"),
        ("epochs=many", "train.epochs is 'many'; expected int"),
        ("epochs=0", "train.epochs is 0"),
        ("epochs=1.5", "expected int"),
        ("width=wide", "expected float"),
        ("mean=median", "expected 'image' or 'channel' or 'none'"),
        ("seed=-1", "train.seed is -1"),
        ("cosine_epochs=50", "optim.phases change the rates too"),
        ("init_std=[1, 2, true]", r"init_std\[2\] is True"),
    ],
)
def test_bad_settings_are_refused_in_one_line(setting: str, message: str) -> None:
    with pytest.raises(AlexnetError, match=message) as caught:
        load_recipe("released", [setting])
    assert "\n" not in str(caught.value)


def test_a_file_over_a_base(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('base = "released"\n[train]\nepochs = 3\n[model]\ntowers = 1\n')
    recipe = load_recipe(str(tmp_path / "mine.toml"), ["seed=4"])
    released = load_recipe("released")
    assert (recipe.name, recipe.train.epochs, recipe.train.seed, recipe.model.towers) == ("mine", 3, 4, 1)
    assert recipe.optim == released.optim
    assert recipe.train.batch_size == released.train.batch_size


def test_a_base_in_a_file_lies_beside_and_keeps_its_name(tmp_path: Path) -> None:
    """A recipe over a run's recipe.toml had the name, and so the directory, of that run."""
    (tmp_path / "run").mkdir()
    save_recipe(tmp_path / "run" / "recipe.toml", load_recipe("small"))
    (tmp_path / "run" / "mine.toml").write_text('base = "recipe.toml"\n[train]\nepochs = 3\n')
    (tmp_path / "far.toml").write_text('base = "run/mine.toml"\n')
    (tmp_path / "run" / "round.toml").write_text('base = "../run/round.toml"\n')
    for name in ("run/mine", "far"):
        recipe = load_recipe(str(tmp_path / f"{name}.toml"))
        assert (recipe.name, recipe.train.epochs) == (name.rpartition("/")[2], 3)
    with pytest.raises(AlexnetError, match="own base"):
        load_recipe(str(tmp_path / "run" / "round.toml"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('base = "released"\n[train]\nepoks = 3\n', "no such key train.epoks; did you mean epochs"),
        ('base = "released"\n[trane]\nepochs = 3\n', "no such key trane; did you mean train"),
        ('base = "relesed"\n', "did you mean released"),
        ('base = "mine.toml"\n', "its own base|no such recipe file"),
        ("[train\n", "expected TOML"),
        ("[train]\nepochs = 3\n", "is missing"),
        ('base = "released"\ntrain = 3\n', "expected a table"),
    ],
)
def test_bad_files_are_refused_in_one_line(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(content)
    with pytest.raises(AlexnetError, match=message) as caught:
        load_recipe(str(path))
    assert "\n" not in str(caught.value)


def test_unknown_names() -> None:
    with pytest.raises(AlexnetError, match="did you mean released"):
        load_recipe("release")
    with pytest.raises(AlexnetError, match="no such recipe file"):
        load_recipe("nowhere/mine.toml")


def test_a_saved_recipe_is_plain_toml_and_so_is_a_checkpoints(tmp_path: Path) -> None:
    recipe = load_recipe("released", ["epochs=2"])
    save_recipe(tmp_path / "recipe.toml", recipe)
    table = tomllib.loads((tmp_path / "recipe.toml").read_text())
    assert table["train"]["epochs"] == 2
    assert recipe_from_dict(table, "here") == recipe


def test_rates_of_a_cosine_last_as_long_as_the_epochs() -> None:
    assert load_recipe("cosine", ["epochs=30", "cosine_epochs=30"]).optim.cosine_epochs == 30
    with pytest.raises(
        AlexnetError, match=r"^--set epochs=91: train.epochs is 91, but the rates are nothing after .* 90;"
    ):
        load_recipe("cosine", ["epochs=91"])
