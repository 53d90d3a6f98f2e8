"""What a study is: networks that differ in named ways, each trained from several seeds, and sets of them averaged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet_shards.errors import AlexnetError
from alexnet_shards.parsing import Where, load_toml

MAX_SEEDS = 1000
TRAIN = "train"


@dataclass(frozen=True, kw_only=True)
class Network:
    """One way to train: a recipe, settings over it, and its seeds, one run each.

    `shards` names the set that it is trained on; `init` names the network of the study whose weights, of the same seed,
    it starts from. One that names another as `trained` has no recipe: it is that one, tested with further words `test` of
    alexnet-eval. `says` is what is different in words, `published` an error to compare with.
    """

    name: str
    recipe: str = ""
    settings: tuple[str, ...] = ()
    seeds: tuple[int, ...]
    shards: str = TRAIN
    init: str = ""
    trained: str = ""
    test: tuple[str, ...] = ()
    says: str = ""
    published: str = ""


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """Networks whose probabilities are averaged, those of every seed; `members` names them."""

    name: str
    members: tuple[str, ...]
    published: str = ""


@dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """The networks in the order in which they are trained; differences are to the first. `views` 1 or 10 of the tests."""

    title: str
    networks: tuple[Network, ...]
    ensembles: tuple[Ensemble, ...]
    views: int

    def runs(self) -> list[tuple[Network, int]]:
        """Every (network, seed), all networks of a seed before those of the next: a study cut short is still paired."""
        seeds = sorted({seed for network in self.networks for seed in network.seeds})
        return [(network, seed) for seed in seeds for network in self.networks if seed in network.seeds]

    def trainings(self) -> int:
        """How many networks are trained."""
        return sum(not network.trained for network, _ in self.runs())

    def network(self, name: str) -> Network:
        """The network of that name, which the plan has."""
        return next(network for network in self.networks if network.name == name)

    def shard_names(self) -> set[str]:
        """The sets of training shards that the study needs, by name."""
        return {network.shards for network in self.networks}


def load_plan(path: Path) -> StudyPlan:
    """The study in a TOML file; recipe files are named from where it lies, `settings` and `seeds` at the top are of all.

    Raises AlexnetError for what is no study, in one line.
    """
    try:
        table = load_toml(Where(path=path, what="study", remedy="expected TOML with [[networks]]"))
    except FileNotFoundError as error:
        raise AlexnetError(
            f"{path}: no such study; expected a TOML file with [[networks]], as docs/studies has"
        ) from error
    try:
        return _plan(table, path.parent)
    except (AlexnetError, TypeError) as error:
        raise AlexnetError(f"{path}: {error}") from error


def _plan(table: Mapping[str, Any], directory: Path) -> StudyPlan:
    seeds = _seeds(table.get("seeds", [0]), "seeds")
    common = tuple(map(str, table.get("settings", ())))
    networks = tuple(_network(entry, seeds, common, directory) for entry in _entries(table, "networks"))
    names = [network.name for network in networks]
    ensembles = tuple(
        Ensemble(**{**entry, "members": tuple(entry.get("members", ()))}) for entry in _entries(table, "ensembles")
    )
    if not networks or len(set(names)) < len(names):
        raise AlexnetError(f"networks are {names}; expected one or more, each with a name of its own")
    for place, network in enumerate(networks):
        _check_before(network, networks[:place])
    for ensemble in ensembles:
        unknown = [member for member in ensemble.members if member not in names]
        if unknown or not ensemble.members:
            raise AlexnetError(f"{ensemble.name}: members are {list(ensemble.members)}; expected some of {names}")
    if table.get("views", 10) not in (1, 10):
        raise AlexnetError(f"views is {table['views']!r}; expected 1 or 10")
    return StudyPlan(
        title=str(table.get("title", "")), networks=networks, ensembles=ensembles, views=table.get("views", 10)
    )


def _check_before(network: Network, others: Sequence[Network]) -> None:
    """Raise AlexnetError where a network needs another that is not trained before it."""
    for key in ("init", "trained"):
        name = getattr(network, key)
        seeds = next((other.seeds for other in others if other.name == name and not other.trained), ())
        if name and not set(network.seeds) <= set(seeds):
            raise AlexnetError(
                f"{network.name}: {key} is {name!r}; expected a network that is trained before it, from its seeds too"
            )


def _network(entry: Mapping[str, Any], seeds: tuple[int, ...], common: tuple[str, ...], directory: Path) -> Network:
    name, recipe = entry.get("name"), entry.get("recipe", "")
    if not isinstance(name, str) or not name or set(name) & set("/\\\0") or name.startswith("."):
        raise AlexnetError(f"a network's name is {name!r}; expected that of a directory")
    if "trained" in entry and entry.keys() - {"name", "trained", "test", "seeds", "says", "published"}:
        raise AlexnetError(f"{name}: is trained as {entry['trained']!r}; expected no key of a training, but test")
    if not isinstance(recipe, str) or bool(recipe) == bool(entry.get("trained")):
        raise AlexnetError(
            f"{name}: recipe is {recipe!r}; expected a recipe's name or file, or trained = a network's name"
        )
    return Network(
        **{
            **entry,
            "recipe": str(directory / recipe) if recipe.endswith(".toml") else recipe,
            "settings": (*common, *map(str, entry.get("settings", ()))),
            "test": tuple(map(str, entry.get("test", ()))),
            "seeds": _seeds(entry["seeds"], f"{name}: seeds") if "seeds" in entry else seeds,
        }
    )


def _entries(table: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    entries = table.get(name, [])
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        raise AlexnetError(f"{name} is no list of tables; expected [[{name}]]")
    return entries


def _seeds(value: Any, what: str) -> tuple[int, ...]:
    whole = isinstance(value, list) and all(type(seed) is int and seed >= 0 for seed in value)
    if not whole or not 0 < len(value) <= MAX_SEEDS or len(set(value)) < len(value):
        raise AlexnetError(f"{what} is {value!r:.80}; expected a list of 1 to {MAX_SEEDS} different whole numbers")
    return tuple(value)
