"""Recipes: every number of a training run, from a TOML file, its `base`, and --set key=value."""

import difflib
import json
import tomllib
import typing
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from alexnet_network import (
    Bounds,
    InputConfig,
    ModelConfig,
    OptimConfig,
    Precision,
    check_choices,
    check_map_sides,
    check_numbers,
    layer_names,
    shown,
)
from alexnet_shards.errors import AlexnetError
from alexnet_shards.files import write_atomic
from alexnet_shards.parsing import Where, load_toml
from alexnet_train.oldrecipe import completed

AT_LEAST_ONE = Bounds(low=1, high=1_000_000_000)
COUNT = Bounds(low=0, high=1_000_000_000)
BATCH = Bounds(low=1, high=65_536)  # ten gigabytes of crops
TRAIN_BOUNDS = {
    "epochs": Bounds(low=1, high=1_000_000),
    "batch_size": BATCH,
    "seed": Bounds(low=0, high=(1 << 63) - 1),
    "log_every_steps": AT_LEAST_ONE,
    "checkpoint_every_steps": COUNT,
    "checkpoint_every_minutes": Bounds(low=0, high=1e6),
    "keep_checkpoints": AT_LEAST_ONE,
    "validation_batch_size": BATCH,
    "micro_batch_size": Bounds(low=0, high=65_536),
    "average_decay": Bounds(low=0, high=1, below=True),
    "divergence_factor": Bounds(low=0, high=1e30, above=True),
    "label_smoothing": Bounds(low=0, high=1),
}
MAX_NAME_CHARACTERS = 100
LARGEST_WHOLE = 10**300  # of the whole numbers that a float takes
RECIPES_DIR = Path(__file__).parent / "recipes"
DEFAULT_RECIPE = "released"


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The run's numbers. `batch_size` counts all ranks. Checkpoints are written at the end of epochs, and every so many
    steps and minutes where these are not 0. `precision` is of the network's matrix products; the rest is float32.
    `micro_batch_size` images go through the network at once where it is not 0, and their gradients are added.
    `average_decay` is of the exponential average of the weights that is evaluated where it is not 0. A batch whose mean
    loss is above `divergence_factor` times that of guessing ends the run. `compile` makes one graph of input step, network
    and loss; `cuda_graphs` launches it as one too.

    `log_every_steps` lies between two lines of metrics.jsonl; `keep_checkpoints` is how many of the newest stay.
    """

    epochs: int
    batch_size: int
    seed: int
    log_every_steps: int
    checkpoint_every_steps: int
    checkpoint_every_minutes: float
    keep_checkpoints: int
    validation_batch_size: int
    precision: Precision
    micro_batch_size: int
    tf32: bool
    deterministic: bool
    average_decay: float
    divergence_factor: float
    compile: bool
    cuda_graphs: bool
    label_smoothing: float

    def __post_init__(self) -> None:
        check_numbers("train", self, TRAIN_BOUNDS)
        check_choices("train", self, {"precision": typing.get_args(Precision)})
        if self.cuda_graphs and (not self.compile or self.micro_batch_size):
            raise AlexnetError(
                f"train.cuda_graphs with compile = {str(self.compile).lower()}, micro_batch_size = "
                f"{self.micro_batch_size}; expected true and 0: a graph is of a compiled step in one part"
            )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Every number of a run; only its files are named elsewhere. `name` is a plain one: a run's directory bears it."""

    name: str
    model: ModelConfig
    optim: OptimConfig
    input: InputConfig
    train: TrainConfig

    def __post_init__(self) -> None:
        _check_name(self.name)
        key, epochs = self.optim.falls
        if 0 < epochs < self.train.epochs:
            raise AlexnetError(
                f"train.epochs is {self.train.epochs}, but the rates are nothing after optim.{key}, "
                f"{epochs:g}; expected the same number"
            )
        check_map_sides(self.model, self.input.view_crop_px)
        known = layer_names(self.model)
        for phase in self.optim.phases:
            for layer in phase.layers:
                if layer.removesuffix(".weight").removesuffix(".bias") not in known:
                    raise AlexnetError(f"optim.phases.layers: {shown(layer)}; expected some of {', '.join(known)}")


def load_recipe(name_or_file: str, settings: Sequence[str] = ()) -> Recipe:
    """The recipe of that name, or in that TOML file, with `settings` ("key=value") over it.

    A key is `section.key`, or `key` alone where one section has it. Raises AlexnetError for an unknown recipe or key, a
    value of another type or out of its bounds; it names the file, or the setting that made it wrong.
    """
    path = _find(name_or_file)
    table = {"name": path.stem} | _read(path, ())
    given = [_parsed(setting) for setting in settings]
    try:
        return _recipe(_with(table, given))
    except AlexnetError as error:
        raise AlexnetError(f"{_to_blame(path, table, settings, str(error))}: {error}") from error


def recipe_from_dict(table: Mapping[str, Any], where: str) -> Recipe:
    """Recipe of nested dicts, as a checkpoint holds them; raises AlexnetError naming `where`.

    Keys that an older checkpoint lacks take the values that reproduce what its version did.
    """
    try:
        return _recipe(table)
    except AlexnetError as error:
        raise AlexnetError(f"{where}: {error}") from error


def recipe_names() -> list[str]:
    """The recipes that come with the package."""
    return sorted(path.stem for path in RECIPES_DIR.glob("*.toml"))


def save_recipe(path: Path, recipe: Recipe) -> None:
    """Write the resolved recipe as TOML that load_recipe reads back to an equal one, whole or not at all."""
    lines = []
    for key, value in asdict(recipe).items():
        lines += [f"\n[{key}]", *(f"{name} = {_toml(item)}" for name, item in value.items())] if key != "name" else []
    write_atomic(path, "\n".join([f"name = {_toml(recipe.name)}", *lines, ""]).encode())


def _find(name_or_file: str) -> Path:
    path = Path(name_or_file)
    if path.suffix == ".toml":
        if not path.is_file():
            raise AlexnetError(
                f"{path}: no such recipe file; expected a TOML file or one of {', '.join(recipe_names())}"
            )
        return path
    if name_or_file not in recipe_names():
        raise AlexnetError(f"{name_or_file!r}: no such recipe{_nearest(name_or_file, recipe_names())}")
    return RECIPES_DIR / f"{name_or_file}.toml"


def _beside(path: Path, base: str) -> str:
    """`base` of the recipe file `path`, whose folder it is looked for in first."""
    near = path.parent / base
    return str(near) if base.endswith(".toml") and near.is_file() else base


def _read(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    """The tables of a recipe file laid over those of its base."""
    if path.resolve() in seen:
        raise AlexnetError(f"{path}: the recipe is its own base; expected a chain that ends at {DEFAULT_RECIPE}")
    table = load_toml(Where(path=path, what="recipe", remedy="expected TOML"))
    base = table.pop("base", None)
    if base is None:
        return table
    merged = _read(_find(_beside(path, str(base))), (*seen, path.resolve()))
    merged.pop("name", None)  # that of the base
    for section, values in table.items():
        if isinstance(values, dict) and isinstance(merged.get(section), dict):
            merged[section] = merged[section] | values
        else:
            merged[section] = values
    return merged


def _recipe(table: Mapping[str, Any]) -> Recipe:
    return typing.cast("Recipe", _build(Recipe, completed(table), ""))


def _parsed(setting: str) -> tuple[str, str, Any]:
    """The section, key and value of "key=value"; a value that is no TOML is a string."""
    key, equals, text = setting.partition("=")
    if not equals:
        raise AlexnetError(f"{_told(setting)}: expected key=value, as epochs=90")
    known = {
        f"{section}.{item.name}": (section, item.name)
        for section, kind in typing.get_type_hints(Recipe).items()
        if is_dataclass(kind)
        for item in fields(kind)
    }
    matches = [place for name, place in known.items() if key.strip() in (name, place[1])]
    if len(matches) != 1:
        names = [*known, *(name for _, name in known.values())]
        reason = "names several keys; write section.key" if matches else f"no such key{_nearest(key, names)}"
        raise AlexnetError(f"{_told(setting)}: {reason}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text.strip()
    return (*matches[0], value)


def _told(setting: str) -> str:
    """A setting as the user gave it; of a long or unprintable one, its beginning as Python writes it."""
    plain = setting.isprintable() and len(setting) <= 120
    return f"--set {setting if plain else shown(setting)}"


def _with(table: Mapping[str, Any], given: Sequence[tuple[str, str, Any]]) -> dict[str, Any]:
    """`table` with the given values in its sections."""
    merged = dict(table)
    for section, name, value in given:
        if not isinstance(merged.get(section, {}), Mapping):
            return merged  # no table: building the recipe says so
        merged[section] = {**merged.get(section, {}), name: value}
    return merged


def _to_blame(path: Path, table: Mapping[str, Any], settings: Sequence[str], message: str) -> str:
    """Who made the recipe wrong in that way: its file, or the first of the settings that does, after those before it."""
    for count in range(len(settings) + 1):
        try:
            _recipe(_with(table, [_parsed(setting) for setting in settings[:count]]))
        except AlexnetError as error:
            if str(error) == message:
                return _told(settings[count - 1]) if count else str(path)
    return str(path)


def _build(kind: Any, table: Any, prefix: str) -> Any:
    """An instance of dataclass `kind`, every field of its declared type; none missing, none unknown."""
    if not isinstance(table, Mapping):
        raise AlexnetError(f"{prefix.rstrip('.') or 'recipe'} is {shown(table)}; expected a table")
    hints = typing.get_type_hints(kind)
    for name in table:
        if name not in hints:
            raise AlexnetError(f"no such key {prefix}{shown(name)[1:-1]}{_nearest(str(name), list(hints))}")
    missing = [name for name in hints if name not in table]
    if missing:
        raise AlexnetError(f"{prefix}{missing[0]} is missing; base = {DEFAULT_RECIPE!r} sets what is silent")
    return kind(**{name: _value(hint, table[name], f"{prefix}{name}") for name, hint in hints.items()})


def _value(hint: Any, value: Any, name: str) -> Any:
    if is_dataclass(hint):
        return _build(hint, value, f"{name}.")
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_value(arguments[0], item, f"{name}[{place}]") for place, item in enumerate(value))
    if origin is dict and isinstance(value, Mapping):
        return {_value(str, key, name): _value(arguments[1], item, f"{name}.{key}") for key, item in value.items()}
    if origin is typing.Literal and type(value) is str and value in arguments:
        return value
    if hint is float and type(value) is int and abs(value) <= LARGEST_WHOLE:
        return float(value)
    if origin is None and type(value) is hint:
        return value
    expected = " or ".join(map(repr, arguments)) if origin is typing.Literal else getattr(hint, "__name__", str(hint))
    raise AlexnetError(f"{name} is {shown(value)}; expected {expected}")


def _nearest(name: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; expected one of {', '.join(sorted(set(names)))}"


def _toml(value: Any) -> str:
    """A TOML value; JSON writes strings, booleans and finite numbers as TOML does, but for one control character."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _check_name(name: str) -> None:
    """Raise AlexnetError unless `name` can be that of a directory beside others, and be printed."""
    plain = name.isprintable() and not set(name) & set("/\\") and not name.startswith((".", "-"))
    if not plain or not name.strip() or len(name) > MAX_NAME_CHARACTERS:
        raise AlexnetError(
            f"name is {shown(name)}; expected a plain name of at most {MAX_NAME_CHARACTERS} characters, without / and \\, "
            "that begins with no dot or dash"
        )
