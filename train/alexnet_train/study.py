"""A study: every network of a plan trained from every seed, tested, and set beside the others."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from alexnet_command.entry import run_command
from alexnet_command.options import Command
from alexnet_command.printing import say, show, show_json
from alexnet_shards.errors import AlexnetError
from alexnet_train.studyplan import TRAIN, StudyPlan, load_plan
from alexnet_train.studyresults import Results, kept_results
from alexnet_train.studyruns import StudyRequest, run_study


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
@click.option("--table", is_flag=True, help="Print what of it is whole in DIR by now; nothing is trained or tested.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
def study(plan_file: Path, shards: tuple[str, ...], test_shards: str | None, out: Path | None, **options: Any) -> None:
    """Train and test every network of PLAN from every seed; run again, it goes on where it stopped.

    Started several times at once, also on machines that share DIR, each takes networks that no other has.
    """
    plan = load_plan(plan_file)
    out = out or Path("studies") / plan_file.stem
    if options["table"]:
        results = _whole(plan, out)
    elif not shards or test_shards is None:
        raise click.UsageError("--shards and --test are needed, but for --table")
    else:
        sets = tuple(word for setting in options["settings"] for word in ("--set", setting))
        named = dict(_named_shards(shards))
        request = StudyRequest(plan=plan, shards=named, test_shards=test_shards, out=out, options=sets)
        say(f"{plan_file}: {plan.trainings()} networks to train, in {out}")
        results = run_study(request)
    if options["as_json"]:
        show_json({"title": plan.title, **results.content()})
    else:
        show(results.lines(plan))


def _whole(plan: StudyPlan, out: Path) -> Results:
    results = kept_results(plan, out)
    whole = sum(map(len, results.networks.values()))
    if not whole:
        raise AlexnetError(
            f"{out}: no network of this study is whole in it; expected the --out of a study, or of one under way"
        )
    say(f"{whole} of {len(plan.runs())} networks are whole")
    return results


def _named_shards(values: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for value in values:
        name, equals, pattern = value.partition("=")
        plain = equals and name.replace("-", "").isalnum()
        yield (name, pattern) if plain else (TRAIN, value)


if __name__ == "__main__":
    run_command(lambda: study)
