"""A study: every run and test once, nothing done twice, and a network that starts from another's weights."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from alexnet_shards.errors import AlexnetError
from alexnet_train.chain import Step
from alexnet_train.study import StudyRequest, lines_of, run_study
from alexnet_train.studyplan import load_plan

PLAN = """
title = "Two networks"
views = 1
seeds = [3]
settings = ["epochs=1", "width=0.0625", "batch_size=8", "dropout=0.0"]
[[networks]]
name = "first"
recipe = "small"
shards = "wide"
[[networks]]
name = "second"
recipe = "small"
init = "first"
[[ensembles]]
name = "both"
members = ["first", "second"]
published = "38.1 / 16.4"
"""


def test_two_networks_and_their_average(
    tmp_path: Path, make_run: Callable[..., str], make_shards: Callable[..., str], run: Callable[..., Result]
) -> None:
    """The second begins with the first's weights; a second start runs nothing; another setting runs what it is for."""
    (tmp_path / "plan.toml").write_text(PLAN)
    said: list[tuple[str, ...]] = []

    def run_here(words: tuple[str, ...]) -> Step:
        said.append(words)
        done = run(words[0].removeprefix("alexnet-"), *words[1:], "--json")
        assert done.exit_code == 0, done.output
        return Step(words=words, result=json.loads(done.stdout.splitlines()[-1]), seconds=0.0)

    near, wide = tmp_path / "near", tmp_path / "wide"
    for directory in (near, wide):
        directory.mkdir()
    shards = {"train": make_run(near), "wide": make_run(wide, (11, 6))}
    request = StudyRequest(
        plan=load_plan(tmp_path / "plan.toml"),
        shards=shards,
        test_shards=str(near / "val-*.tar"),
        out=tmp_path / "out",
    )
    results = run_study(request, run_here)
    assert [words[0] for words in said] == ["alexnet-train", "alexnet-eval", "alexnet-eval"] * 2 + ["alexnet-eval"]
    first = Path(said[3][said[3].index("--init") + 1])
    assert (first.parent.parent, first.suffix) == (tmp_path / "out" / "first" / "seed-3", ".pt")
    assert json.loads((tmp_path / "out" / "study.json").read_text()) == results
    assert results["networks"].keys() == {"first", "second"}
    assert run_study(request, run_here) == results
    assert len(said) == 7
    (tmp_path / "out" / "second" / "seed-3" / "seen.json").write_text("{")
    assert run_study(request, run_here) == results
    assert len(said) == 8, "a damaged result is made again, and it alone"
    lines = lines_of(request.plan, results, 100)
    assert [line.split()[0] for line in lines if line and line[0].islower()][:3] == ["network", "first", "second"]
    assert lines[-1].split()[-3:] == ["38.1", "/", "16.4"]


def test_a_set_that_is_not_given_is_named(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(PLAN)
    with pytest.raises(AlexnetError, match="--shards: none named wide"):
        StudyRequest(plan=load_plan(tmp_path / "plan.toml"), shards={"train": "a"}, test_shards="b", out=tmp_path)
