"""A study: every run and test once, nothing done twice, and a network that starts from another's weights."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from alexnet_shards.errors import AlexnetError
from alexnet_train.chain import Step
from alexnet_train.study import StudyRequest, kept_results, lines_of, run_study
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


RESULTS = {
    "title": "Two networks",
    "networks": {
        "first": {
            "3": {"top1": 0.25, "top5": 0.0, "centre": 0.5, "seen": 0.25},
            "4": {"top1": 0.35, "top5": 0, "centre": 1, "seen": 0},
        },
        "second": {"3": {"top1": 0.2, "top5": None, "centre": 0.5, "seen": 0.5}},
    },
    "ensembles": {},
}


def table(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "plan.toml").write_text(PLAN)
    command = [sys.executable, "-m", "alexnet_train.study", "plan.toml", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)


def test_the_tables_of_what_is_there_are_printed_without_a_run(tmp_path: Path) -> None:
    (tmp_path / "night").mkdir()
    (tmp_path / "night" / "study.json").write_text(json.dumps(RESULTS))
    done = table(tmp_path, "--out", "night", "--table")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines == lines_of(load_plan(tmp_path / "plan.toml"), RESULTS)
    assert lines[-2].split()[:5] == ["first", "2", "30.0", "±", "7.1"]
    assert lines[-1].split()[:3] == ["second", "1", "20.0"]
    assert json.loads(table(tmp_path, "--out", "night", "--table", "--json").stdout) == RESULTS
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["night", "plan.toml", "study.json"]


def test_results_that_are_none_are_one_line(tmp_path: Path) -> None:
    assert "no results are there" in table(tmp_path, "--table").stderr
    assert table(tmp_path).returncode == 2
    out = tmp_path / "studies" / "plan"
    out.mkdir(parents=True)
    damaged: list[Any] = [[], {}, {"networks": {}}, 3]
    for wrong in ({"top1": "0.25"}, {"top2": 0.1}, 0.25):
        damaged.append(RESULTS | {"networks": {"first": {"3": wrong}}})
    damaged.append(RESULTS | {"networks": {"first": {"three": RESULTS["networks"]["first"]["3"]}}})  # type: ignore[index]
    for content in damaged:
        (out / "study.json").write_text(json.dumps(content))
        with pytest.raises(AlexnetError, match="damaged results"):
            kept_results(out)
    done = table(tmp_path, "--table")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)


ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["parts", "defects"])
def test_kept_runs_are_gone_on_from(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As docs/studies/README.md says: what is kept is of the plans as they are, and not trained or tested again."""
    kept = ROOT / "docs" / "studies" / "kept" / name
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    shutil.copytree(kept, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    said: list[tuple[str, ...]] = []

    def run_nothing(words: tuple[str, ...]) -> Step:
        said.append(words)
        return Step(words=words, result={"checkpoint": "none", "top1_error": 0.5, "top5_error": 0.1}, seconds=0.0)

    request = StudyRequest(
        plan=load_plan(Path("docs", "studies", f"{name}.toml")),
        shards={"train": "shards/train-*.tar"},
        test_shards="shards/val-*.tar",
        out=Path(name),
        options=("--set", "precision=bfloat16"),
    )
    results = run_study(request, run_nothing)
    whole = {(path.parent.parent.name, path.parent.name) for path in kept.glob("*/*/seen.json")}
    assert whole
    runs = {(network.name, f"seed-{seed}") for network, seed in request.plan.runs()}
    assert whole <= runs
    assert len(said) == 4 * (len(runs) - len(whole))
    for network, seed in whole:
        run = kept / network / seed
        kept_error = json.loads((run / "views-10.json").read_text())["result"]["top1_error"]
        assert results["networks"][network][seed.removeprefix("seed-")]["top1"] == kept_error
        epochs = [json.loads(line) for line in (run / "epochs.jsonl").read_text().splitlines()]
        assert [line["epoch"] for line in epochs] == list(range(1, 11))
