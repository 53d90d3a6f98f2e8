"""A study's runs: every run and test once, by one process or several, and a network that starts from another's weights."""

import json
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import Result

from alexnet_shards.errors import AlexnetError
from alexnet_shards.locks import owned
from alexnet_train.chain import Step
from alexnet_train.studyplan import load_plan
from alexnet_train.studyresults import Results, kept_results
from alexnet_train.studyruns import StudyRequest, fingerprint_of, run_study


def test_two_networks_and_their_average(
    tmp_path: Path,
    make_run: Callable[..., str],
    run: Callable[..., Result],
    study_request: Callable[..., StudyRequest],
) -> None:
    """The second begins with the first's weights; a second start runs nothing; another setting runs what it is for."""
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
    request = replace(study_request(), shards=shards, test_shards=str(near / "val-*.tar"), content_of=fingerprint_of)
    results = run_study(request, run_here)
    assert [words[0] for words in said] == ["alexnet-train", "alexnet-eval", "alexnet-eval"] * 2 + ["alexnet-eval"]
    first = Path(said[3][said[3].index("--init") + 1])
    assert (first.parent.parent, first.suffix) == (tmp_path / "out" / "first" / "seed-3", ".pt")
    assert results.networks.keys() == {"first", "second"}
    assert results.ensembles.keys() == {"both"}
    assert run_study(request, run_here) == results
    assert len(said) == 7
    (tmp_path / "out" / "second" / "seed-3" / "seen.json").write_text("{")
    assert run_study(request, run_here) == results
    assert len(said) == 8, "a damaged result is made again, and it alone"
    lines = results.lines(request.plan, 100)
    assert [line.split()[0] for line in lines if line and line[0].islower()][:3] == ["network", "first", "second"]
    assert lines[-1].split()[-3:] == ["38.1", "/", "16.4"]


def test_a_set_that_is_not_given_is_named(study_request: Callable[..., StudyRequest]) -> None:
    with pytest.raises(AlexnetError, match="--shards: none named wide"):
        replace(study_request(), shards={"train": "a"})


def test_a_network_that_is_tested_in_another_way_is_not_trained_again(
    study_request: Callable[..., StudyRequest], printed: Callable[[tuple[str, ...]], Step]
) -> None:
    again = '[[networks]]\nname = "logits"\ntrained = "first"\ntest = ["--average", "logits"]\n[[ensembles]]'
    request = study_request(("[[ensembles]]", again))
    said: list[tuple[str, ...]] = []

    def run(words: tuple[str, ...]) -> Step:
        said.append(words)
        return printed(words)

    results = run_study(request, run)
    ours = [words for words in said if "--average" in words]
    checkpoint = str(request.out / "first" / "seed-3")
    assert ours == [
        ("alexnet-eval", "--checkpoint", checkpoint, "--shards", "c", "--average", "logits", "--views", "1")
    ]
    assert len(said) == 7 + 1
    assert results.networks["logits"][3] == results.networks["first"][3]
    assert request.plan.trainings() == 2
    (request.out / "first" / "seed-3" / "seen.json").unlink()
    assert kept_results(request.plan, request.out).networks.keys() == {"second"}


def test_what_is_of_other_shards_is_made_again(
    study_request: Callable[..., StudyRequest], printed: Callable[[tuple[str, ...]], Step]
) -> None:
    """The shards that are called the same may be others by now: whoever reads them runs again, the rest does not."""
    request = study_request()
    said: list[tuple[str, ...]] = []

    def run(words: tuple[str, ...]) -> Step:
        said.append(words)
        return printed(words)

    run_study(request, run)
    assert len(said) == 7
    run_study(replace(request, content_of={"a": "A", "b": "B", "c": "other"}.__getitem__), run)
    assert [words[words.index("--shards") + 1] for words in said[7:]] == ["c", "c", "c"]
    run_study(replace(request, content_of={"a": "A", "b": "other", "c": "other"}.__getitem__), run)
    assert [words[0] for words in said[10:]] == ["alexnet-train", "alexnet-eval"]
    assert all(words[words.index("--shards") + 1] == "b" for words in said[10:])


def test_two_processes_share_a_study(
    study_request: Callable[..., StudyRequest],
    printed: Callable[[tuple[str, ...]], Step],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """While one trains the first network, another does all that does not need it, and ends; the first then does the rest."""
    request = study_request(("[[ensembles]]", '[[networks]]\nname = "third"\nrecipe = "small"\n[[ensembles]]'))
    ours: list[tuple[str, ...]] = []
    others: list[tuple[str, ...]] = []
    results: list[Results] = []

    def other(words: tuple[str, ...]) -> Step:
        others.append(words)
        return printed(words)

    def first(words: tuple[str, ...]) -> Step:
        ours.append(words)
        if not results:
            results.append(run_study(request, other))
        return printed(words)

    whole = run_study(request, first)
    assert {Path(words[words.index("--out") + 1]) for words in others if "--out" in words} == {
        request.out / "third" / "seed-3"
    }
    assert results[0].networks.keys() == {"third"}
    assert not results[0].ensembles
    assert whole.networks.keys() == {"first", "second", "third"}
    assert whole.ensembles.keys() == {"both"}
    assert (len(ours), len(others)) == (3 + 3 + 1, 3)
    assert not set(ours) & set(others)
    said = capsys.readouterr().err
    assert "seed-3: process" in said
    assert "3 of 4 are left to other processes" in said


def test_what_another_process_had_is_done_once_that_is_gone(
    study_request: Callable[..., StudyRequest], printed: Callable[[tuple[str, ...]], Step]
) -> None:
    """A network that was passed over is not forgotten: the other process may have been killed."""
    request = study_request(('init = "first"', ""))
    directory = request.out / "first" / "seed-3"
    directory.mkdir(parents=True)
    with ExitStack() as held:
        held.enter_context(owned(directory / "study.lock"))

        def run(words: tuple[str, ...]) -> Step:
            held.close()
            return printed(words)

        results = run_study(request, run)
    assert results.networks.keys() == {"first", "second"}


ROOT = Path(__file__).parents[2]
KEPT = ROOT / "docs" / "studies" / "kept"
# The ten classes as `alexnet-prep shards` packs them.
CONTENTS = {
    "shards/train-*.tar": "2f4effdac2c9d5b514ba63ee6a788c139f99b1f3fe65a6c9f4ceff4a4cb636af",
    "shards/val-*.tar": "77dc2b50a95112b95b56a8abeeaad3697d19a0e598ee5a365502c7c92fb882ac",
}


@pytest.mark.parametrize("name", ["parts", "defects"])
def test_kept_runs_are_gone_on_from(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: Callable[[tuple[str, ...]], Step]
) -> None:
    """As docs/studies/README.md says: what is kept is of the plans as they are, and not trained or tested again."""
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    shutil.copytree(KEPT, tmp_path / "ten")
    monkeypatch.chdir(tmp_path)
    said: list[tuple[str, ...]] = []

    def run_nothing(words: tuple[str, ...]) -> Step:
        said.append(words)
        return printed(words)

    request = StudyRequest(
        plan=load_plan(Path("docs", "studies", f"{name}.toml")),
        shards={"train": "shards/train-*.tar"},
        test_shards="shards/val-*.tar",
        out=Path("ten"),
        options=("--set", "precision=bfloat16"),
        content_of=CONTENTS.__getitem__,
    )
    results = run_study(request, run_nothing)
    whole = [
        (network, seed) for network, seed in request.plan.runs() if (KEPT / network.name / f"seed-{seed}").exists()
    ]
    assert whole
    left = [network for network, seed in request.plan.runs() if (network, seed) not in whole]
    assert len(said) == sum(2 if network.trained else 4 for network in left)
    for network, seed in whole:
        kept = KEPT / network.name / f"seed-{seed}"
        kept_error = json.loads((kept / "views-10.json").read_text())["result"]["top1_error"]
        assert results.networks[network.name][seed].top1 == kept_error
        if network.trained:
            continue
        epochs = [json.loads(line) for line in (kept / "epochs.jsonl").read_text().splitlines()]
        assert [line["epoch"] for line in epochs] == list(range(1, 11))


def test_what_is_kept_is_of_the_plans() -> None:
    runs = {
        (network.name, f"seed-{seed}")
        for name in ("parts", "defects")
        for network, seed in load_plan(ROOT / "docs" / "studies" / f"{name}.toml").runs()
    }
    assert {(path.parent.name, path.name) for path in KEPT.glob("*/*")} <= runs
