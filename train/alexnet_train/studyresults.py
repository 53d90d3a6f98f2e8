"""What is whole of a study: the results that its runs keep in their directories, read; nothing is trained or tested."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from alexnet_shards.errors import AlexnetError
from alexnet_shards.files import write_atomic
from alexnet_shards.parsing import Where, check_fields, load_json_object
from alexnet_train.studyplan import Ensemble, Network, StudyPlan
from alexnet_train.studytable import RunErrors, study_lines

TRAINED_NAME, SEEN_NAME = "trained.json", "seen.json"
NUMBER = (float, int)
ERROR_TYPES = {
    name: NUMBER if name in ("top1", "centre") else (*NUMBER, type(None)) for name in RunErrors.__annotations__
}


@dataclass(frozen=True, kw_only=True)
class Results:
    """Errors of the networks by name and seed, and of the ensembles by name; what is not whole is not there."""

    networks: Mapping[str, Mapping[int, RunErrors]]
    ensembles: Mapping[str, RunErrors]

    def content(self) -> dict[str, Any]:
        """As it is printed in JSON."""
        return {
            "networks": {
                name: {str(seed): asdict(errors) for seed, errors in runs.items()}
                for name, runs in self.networks.items()
            },
            "ensembles": {name: asdict(errors) for name, errors in self.ensembles.items()},
        }

    def lines(self, plan: StudyPlan, width: int | None = None) -> list[str]:
        """The tables of a study; `width` in character cells, None for the screen's."""
        published = {network.name: network.published for network in plan.networks}
        lines = study_lines(plan.title, self.networks, published, width)
        if self.ensembles:
            published = {ensemble.name: ensemble.published for ensemble in plan.ensembles}
            averaged = {name: {0: errors} for name, errors in self.ensembles.items()}
            lines += ["", *study_lines("probabilities averaged", averaged, published, width)]
        return lines


def run_directory(out: Path, network: Network, seed: int) -> Path:
    """Where the run of a network from `seed` lies: an ordinary run directory."""
    return out / network.name / f"seed-{seed}"


def ensemble_directory(out: Path, ensemble: Ensemble) -> Path:
    """Where an ensemble's tests are kept."""
    return out / f"{ensemble.name}.ensemble"


def views_name(views: int) -> str:
    """The name of the test over so many views in a run's directory."""
    return f"views-{views}.json"


def kept_results(plan: StudyPlan, out: Path) -> Results:
    """What is whole of `plan` in `out`, of a study that may be under way; runs with other settings than the plan's are not.

    Raises AlexnetError where a result is none, or not all were tested on the same images.
    """
    networks: dict[str, dict[int, RunErrors]] = {}
    for network, seed in plan.runs():
        one = plan.network(network.trained or network.name)
        trained = run_directory(out, one, seed)
        seen = read_kept(trained / SEEN_NAME).get("result")
        if seen and _of_the_plan(read_kept(trained / TRAINED_NAME), one, seed):
            errors = _errors(run_directory(out, network, seed), plan.views, seen)
            if errors is not None:
                networks.setdefault(network.name, {})[seed] = errors
    ensembles = {}
    for ensemble in plan.ensembles:
        errors = _errors(ensemble_directory(out, ensemble), plan.views)
        if errors is not None:
            ensembles[ensemble.name] = errors
    _check_same_images([run_directory(out, network, seed) for network, seed in plan.runs()], plan.views)
    return Results(networks=networks, ensembles=ensembles)


def read_kept(path: Path) -> dict[str, Any]:
    """A kept result with the words of its command; {} where none is there, or it is damaged: then it is made again."""
    return load_json_object(Where(path=path, what="result", remedy="the command is run again"))


def keep(path: Path, content: Any) -> None:
    """Write a result."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(content, indent=1).encode())


def _check_same_images(directories: Sequence[Path], views: int) -> None:
    """Whether the runs were tested on the same shards, those that keep what theirs were."""
    contents = {directory: read_kept(directory / views_name(views)).get("content") for directory in directories}
    known = {directory: content for directory, content in contents.items() if content}
    for directory, content in known.items():
        first = next(iter(known))
        if content != known[first]:
            raise AlexnetError(
                f"{directory}: tested on other images than {first}; run the study on one set of shards, and what is of "
                "others is tested again"
            )


def _of_the_plan(trained: Mapping[str, Any], network: Network, seed: int) -> bool:
    """Whether a run was trained by the network's recipe, wherever that file lay, its settings and this seed."""
    words = list(map(str, trained.get("words", ())))
    wanted = [word for setting in (*network.settings, f"seed={seed}") for word in ("--set", setting)]
    recipe = words.index("--recipe") + 1 if "--recipe" in words else len(words)
    return (
        Path(*words[recipe : recipe + 1]).name == Path(network.recipe).name
        and words[recipe + 1 : recipe + 1 + len(wanted)] == wanted
    )


def _errors(directory: Path, views: int, seen: Any = None) -> RunErrors | None:
    """The errors that a directory keeps, None where one of its tests is not whole."""
    where = Where(path=directory / views_name(views), what="results", remedy="remove it, and the study makes it again")
    many = read_kept(where.path).get("result")
    centre = read_kept(directory / views_name(1)).get("result")
    if many is None or centre is None:
        return None
    try:
        fields = {"top1": many["top1_error"], "top5": many.get("top5_error"), "centre": centre["top1_error"]}
        fields["seen"] = seen["top1_error"] if seen is not None else None
        return RunErrors(**check_fields(RunErrors, fields, ERROR_TYPES))
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise AlexnetError(str(where.wrong(str(error)))) from error
