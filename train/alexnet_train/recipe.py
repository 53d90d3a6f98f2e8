"""Recipes: every number of a training run, from a TOML file, its `base`, and --set key=value."""

import difflib
import json
import tomllib
import typing
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from alexnet_network import InputConfig, ModelConfig, OptimConfig, Precision
from alexnet_shards.errors import AlexnetError
from alexnet_shards.files import write_atomic
from alexnet_train.oldrecipe import completed

RECIPES_DIR = Path(__file__).parent / "recipes"
DEFAULT_RECIPE = "released"


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The run's numbers. `batch_size` counts all ranks. Checkpoints are written at the end of epochs, and every so many
    steps and minutes where these are not 0. `precision` is of the network's matrix products; the rest is float32.
    `micro_batch_size` images go through the network at once where it is not 0, and their gradients are added.
    `average_decay` is of the exponential average of the weights that is evaluated where it is not 0. A batch whose mean
    loss is above `divergence_factor` times that of guessing ends the run.

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
    label_smoothing: float


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Every number of a run; only its files are named elsewhere."""

    name: str
    model: ModelConfig
    optim: OptimConfig
    input: InputConfig
    train: TrainConfig


def load_recipe(name_or_file: str, settings: Sequence[str] = ()) -> Recipe:
    """The recipe of that name, or in that TOML file, with `settings` ("key=value") over it.

    A key is `section.key`, or `key` alone where one section has it. Raises AlexnetError for an unknown recipe, key or
    a value of another type.
    """
    path = _find(name_or_file)
    table = _read(path, ())
    for setting in settings:
        _apply(table, setting)
    recipe = recipe_from_dict({"name": path.stem} | table, str(path))
    _check(recipe.train)
    return recipe


def recipe_from_dict(table: Mapping[str, Any], where: str) -> Recipe:
    """Recipe of nested dicts, as TOML or a checkpoint holds them; raises AlexnetError naming `where`.

    Keys that an older checkpoint lacks take the values that reproduce what its version did.
    """
    return typing.cast("Recipe", _build(Recipe, completed(table), where, ""))


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


def _read(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    """The tables of a recipe file laid over those of its base."""
    if path in seen:
        raise AlexnetError(f"{path}: the recipe is its own base; expected a chain that ends at {DEFAULT_RECIPE}")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise AlexnetError(f"{path}: unreadable recipe ({error}); expected TOML") from error
    base = table.pop("base", None)
    if base is None:
        return table
    merged = _read(_find(str(base)), (*seen, path))
    for section, values in table.items():
        if isinstance(values, dict) and isinstance(merged.get(section), dict):
            merged[section] = merged[section] | values
        else:
            merged[section] = values
    return merged


def _apply(table: dict[str, Any], setting: str) -> None:
    key, equals, text = setting.partition("=")
    if not equals:
        raise AlexnetError(f"--set {setting}: expected key=value, as epochs=90")
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
        raise AlexnetError(f"--set {setting}: {reason}")
    section, name = matches[0]
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    table.setdefault(section, {})[name] = value


def _build(kind: Any, table: Any, where: str, prefix: str) -> Any:
    """An instance of dataclass `kind`, every field of its declared type; none missing, none unknown."""
    if not isinstance(table, Mapping):
        raise AlexnetError(f"{where}: {prefix.rstrip('.') or 'recipe'} is {table!r}; expected a table")
    hints = typing.get_type_hints(kind)
    for name in table:
        if name not in hints:
            raise AlexnetError(f"{where}: no such key {prefix}{name}{_nearest(name, list(hints))}")
    missing = [name for name in hints if name not in table]
    if missing:
        raise AlexnetError(f"{where}: {prefix}{missing[0]} is missing; base = {DEFAULT_RECIPE!r} sets what is silent")
    return kind(**{name: _value(hint, table[name], where, f"{prefix}{name}") for name, hint in hints.items()})


def _value(hint: Any, value: Any, where: str, name: str) -> Any:
    if is_dataclass(hint):
        return _build(hint, value, where, f"{name}.")
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_value(arguments[0], item, where, f"{name}[{place}]") for place, item in enumerate(value))
    if origin is dict and isinstance(value, Mapping):
        return {key: _value(arguments[1], item, where, f"{name}.{key}") for key, item in value.items()}
    if origin is typing.Literal and value in arguments:
        return value
    if hint is float and type(value) is int:
        return float(value)
    if origin is None and type(value) is hint:
        return value
    expected = " or ".join(map(repr, arguments)) if origin is typing.Literal else getattr(hint, "__name__", str(hint))
    raise AlexnetError(f"{where}: {name} is {value!r}; expected {expected}")


def _nearest(name: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; expected one of {', '.join(sorted(set(names)))}"


def _toml(value: Any) -> str:
    """A TOML value; JSON writes strings, booleans and finite numbers as TOML does."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=True)


def _check(train: TrainConfig) -> None:
    for name in ("epochs", "batch_size", "log_every_steps", "keep_checkpoints", "validation_batch_size"):
        if getattr(train, name) < 1:
            raise AlexnetError(f"train.{name} is {getattr(train, name)}; expected 1 or more")
    for name in ("seed", "checkpoint_every_steps", "checkpoint_every_minutes", "micro_batch_size"):
        if getattr(train, name) < 0:
            raise AlexnetError(f"train.{name} is {getattr(train, name)}; expected 0 or more")
    if not 0 <= train.average_decay < 1:
        raise AlexnetError(f"train.average_decay is {train.average_decay}; expected 0 <= average_decay < 1")
