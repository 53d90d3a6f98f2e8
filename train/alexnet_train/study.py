"""A study: every network of a plan trained from every seed, tested, and set beside the others."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from alexnet_command.entry import run_command
from alexnet_command.options import Command
from alexnet_command.printing import say, show, show_json
from alexnet_shards.errors import AlexnetError, FormatError
from alexnet_shards.files import write_atomic
from alexnet_shards.parsing import Where, check_fields, load_json
from alexnet_train.chain import Step, run_step
from alexnet_train.studyplan import TRAIN, Ensemble, Network, StudyPlan, load_plan
from alexnet_train.studytable import RunErrors, study_lines

RESULT_NAME, TRAINED_NAME = "study.json", "trained.json"
NUMBER = (float, int)
ERROR_TYPES = {
    name: NUMBER if name in ("top1", "centre") else (*NUMBER, type(None)) for name in RunErrors.__annotations__
}
RunCommand = Callable[[tuple[str, ...]], Step]


@dataclass(frozen=True, kw_only=True)
class StudyRequest:
    """A plan, the training shards by name, the shards to test on, and where runs go: `out`/NETWORK/seed-N."""

    plan: StudyPlan
    shards: Mapping[str, str]
    test_shards: str
    out: Path
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        missing = sorted(self.plan.shard_names() - self.shards.keys())
        if missing:
            raise AlexnetError(
                f"--shards: none named {missing[0]}; give them as --shards {missing[0]}='DIR/train-*.tar'"
            )

    def run_dir(self, name: str, seed: int) -> Path:
        """Where the run of network `name` from `seed` lies."""
        return self.out / name / f"seed-{seed}"


def run_study(request: StudyRequest, run: RunCommand = run_step) -> dict[str, Any]:
    """Train and test every network of the plan, then its ensembles; what is whole already is not done again.

    `run` runs one of our commands. Returns {"title", "networks": {name: {seed: errors}}, "ensembles": {name: errors}},
    which is also kept in `out` as study.json.
    """
    results: dict[str, Any] = {"title": request.plan.title, "networks": {}, "ensembles": {}}
    for network, seed in request.plan.runs():
        errors = _trained_and_tested(request, network, seed, run)
        results["networks"].setdefault(network.name, {})[str(seed)] = asdict(errors)
        _keep(request.out / RESULT_NAME, results)
    for ensemble in request.plan.ensembles:
        results["ensembles"][ensemble.name] = _ensemble_errors(request, ensemble, run)
        _keep(request.out / RESULT_NAME, results)
    return results


def kept_results(out: Path) -> dict[str, Any]:
    """What `run_study` kept in `out`, of a study that may be under way. Raises AlexnetError where it is not that."""
    where = Where(path=out / RESULT_NAME, what="results", remedy="the study writes them, run without --table")
    try:
        content = load_json(where)
        runs = [
            *content["ensembles"].values(),
            *(run for seeds in content["networks"].values() for run in seeds.values()),
        ]
        for run in runs:
            RunErrors(**check_fields(RunErrors, run, ERROR_TYPES))
        [int(seed) for seeds in content["networks"].values() for seed in seeds]
    except FileNotFoundError as error:
        raise AlexnetError(f"{where.path}: no results are there; {where.remedy}") from error
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise where.wrong(str(error)) from error
    return dict(content)


def lines_of(plan: StudyPlan, results: Mapping[str, Any], width: int | None = None) -> list[str]:
    """The tables of a study's results."""
    errors = {
        network.name: {int(seed): RunErrors(**run) for seed, run in results["networks"].get(network.name, {}).items()}
        for network in plan.networks
    }
    published = {network.name: network.published for network in plan.networks}
    averaged = {name: {0: RunErrors(**run)} for name, run in results["ensembles"].items()}
    lines = study_lines(plan.title, errors, published, width)
    if averaged:
        published = {ensemble.name: ensemble.published for ensemble in plan.ensembles}
        lines += ["", *study_lines("probabilities averaged", averaged, published, width)]
    return lines


def _trained_and_tested(request: StudyRequest, network: Network, seed: int, run: RunCommand) -> RunErrors:
    directory = request.run_dir(network.name, seed)
    words = ["alexnet-train", "--shards", request.shards[network.shards], "--recipe", network.recipe]
    for setting in (*network.settings, f"seed={seed}"):
        words += ["--set", setting]
    if network.init:
        words += ["--init", _checkpoint_of(request.run_dir(network.init, seed))]
    trained = _once(directory / TRAINED_NAME, (*words, *request.options, "--out", str(directory)), run)
    checkpoint = str(trained["checkpoint"])
    test = _tested(request, directory, (checkpoint,), run)
    seen = _once(
        directory / "seen.json",
        ("alexnet-eval", "--checkpoint", checkpoint, "--shards", request.shards[network.shards], "--views", "1"),
        run,
    )
    return RunErrors(seen=seen["top1_error"], **test)


def _ensemble_errors(request: StudyRequest, ensemble: Ensemble, run: RunCommand) -> dict[str, Any]:
    members = [network for network in request.plan.networks if network.name in ensemble.members]
    runs = [request.run_dir(network.name, seed) for network in members for seed in network.seeds]
    checkpoints = tuple(map(_checkpoint_of, runs))
    test = _tested(request, request.out / f"{ensemble.name}.ensemble", checkpoints, run)
    return asdict(RunErrors(seen=None, **test))


def _checkpoint_of(directory: Path) -> str:
    """The last checkpoint of a run that has been trained."""
    return str(_read(directory / TRAINED_NAME)["result"]["checkpoint"])


def _tested(request: StudyRequest, directory: Path, checkpoints: tuple[str, ...], run: RunCommand) -> dict[str, Any]:
    """Errors on the test shards: over the plan's views, and with the centre view."""
    named = [word for checkpoint in checkpoints for word in ("--checkpoint", checkpoint)]
    words = ("alexnet-eval", *named, "--shards", request.test_shards, "--views")
    many = _once(directory / f"views-{request.plan.views}.json", (*words, str(request.plan.views)), run)
    centre = many if request.plan.views == 1 else _once(directory / "views-1.json", (*words, "1"), run)
    return {"top1": many["top1_error"], "top5": many.get("top5_error"), "centre": centre["top1_error"]}


def _once(path: Path, words: tuple[str, ...], run: RunCommand) -> Any:
    """The result of a command, kept at `path` for as long as its words are the same."""
    kept = _read(path)
    if kept.get("words") == list(words):
        return kept["result"]
    result = run(words).result
    _keep(path, {"words": list(words), "result": result})
    return result


def _read(path: Path) -> dict[str, Any]:
    try:
        content = load_json(Where(path=path, what="result", remedy="the command is run again"))
    except (FileNotFoundError, FormatError):
        return {}
    return content if isinstance(content, dict) else {}


def _keep(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(content, indent=1).encode())


def _named_shards(values: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for value in values:
        name, equals, pattern = value.partition("=")
        plain = equals and name.replace("-", "").isalnum()
        yield (name, pattern) if plain else (TRAIN, value)


@click.command(
    cls=Command,
    examples=[
        "python -m alexnet_train.study docs/studies/table1.toml --shards 'shards/train-*.tar' --test 'shards/test-*.tar'",
        "python -m alexnet_train.study docs/studies/parts.toml --out night --table",
    ],
)
@click.argument("plan_file", metavar="PLAN", type=click.Path(path_type=Path))
@click.option("--shards", multiple=True, metavar="[NAME=]SHARDS", help="Training shards; other sets by name.")
@click.option("--test", "test_shards", metavar="SHARDS", help="Shards with labels to test on.")
@click.option("--out", metavar="DIR", type=click.Path(path_type=Path), help="[default: studies/PLAN]")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A number of all the recipes.")
@click.option("--table", is_flag=True, help="Print what DIR/study.json holds by now; nothing is trained or tested.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
def study(plan_file: Path, shards: tuple[str, ...], test_shards: str | None, out: Path | None, **options: Any) -> None:
    """Train and test every network of PLAN from every seed; run again, it goes on where it stopped."""
    plan = load_plan(plan_file)
    out = out or Path("studies") / plan_file.stem
    if options["table"]:
        results = kept_results(out)
    elif not shards or test_shards is None:
        raise click.UsageError("--shards and --test are needed, but for --table")
    else:
        sets = tuple(word for setting in options["settings"] for word in ("--set", setting))
        named = dict(_named_shards(shards))
        request = StudyRequest(plan=plan, shards=named, test_shards=test_shards, out=out, options=sets)
        say(f"{plan_file}: {len(plan.runs())} networks to train, in {out}")
        results = run_study(request)
    if options["as_json"]:
        show_json(results)
    else:
        show(lines_of(plan, results))


if __name__ == "__main__":
    run_command(lambda: study)
