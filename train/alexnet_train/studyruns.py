"""A study's runs: every network trained and tested once, by whichever process comes first; then its ensembles."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from alexnet_command.printing import say
from alexnet_remote import open_shards
from alexnet_shards.errors import AlexnetError
from alexnet_shards.locks import LockHeldError, owned
from alexnet_train.chain import Step, run_step
from alexnet_train.studyplan import Ensemble, Network, StudyPlan
from alexnet_train.studyresults import (
    SEEN_NAME,
    TRAINED_NAME,
    Results,
    ensemble_directory,
    keep,
    kept_results,
    read_kept,
    run_directory,
    views_name,
)

LOCK_NAME = "study.lock"
RunCommand = Callable[[tuple[str, ...]], Step]


def fingerprint_of(shards: str) -> str:
    """What changes with the content of shards. Raises AlexnetError where they are none."""
    return open_shards([shards]).fingerprint


@dataclass(frozen=True, kw_only=True)
class StudyRequest:
    """A plan, the training shards by name, the shards to test on, and where runs go: `out`/NETWORK/seed-N.

    `content_of` says what changes with the content of shards.
    """

    plan: StudyPlan
    shards: Mapping[str, str]
    test_shards: str
    out: Path
    options: tuple[str, ...] = ()
    content_of: Callable[[str], str] = fingerprint_of

    def __post_init__(self) -> None:
        missing = sorted(self.plan.shard_names() - self.shards.keys())
        if missing:
            raise AlexnetError(
                f"--shards: none named {missing[0]}; give them as --shards {missing[0]}='DIR/train-*.tar'"
            )


@dataclass(frozen=True, kw_only=True)
class _Commands:
    """Commands that are run once: `contents` are the fingerprints of the shards that they read, by pattern."""

    run: RunCommand
    contents: Mapping[str, str]

    def once(self, path: Path, words: tuple[str, ...], shards: str) -> Any:
        """The result of a command, kept at `path` for as long as its words and the content of its shards are the same."""
        key = {"words": list(words), "content": self.contents[shards]}
        kept = read_kept(path)
        if {name: kept.get(name) for name in key} == key and "result" in kept:
            return kept["result"]
        result = self.run(words).result
        keep(path, {**key, "result": result})
        return result


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What one process does alone: a network from one seed, or an ensemble; `needs` are the jobs that go before."""

    directory: Path
    needs: tuple[Path, ...]
    do: Callable[[], None]


def run_study(request: StudyRequest, run: RunCommand = run_step) -> Results:
    """Train and test every network of the plan, then its ensembles; what is whole already is not done again.

    Several processes, also of several machines that share `out`, may do so at once: each takes what none has taken, and
    goes over the plan again for as long as it finds something to do. `run` runs one of our commands.
    """
    patterns = {request.test_shards, *(request.shards[name] for name in request.plan.shard_names())}
    commands = _Commands(run=run, contents={pattern: request.content_of(pattern) for pattern in sorted(patterns)})
    jobs = list(_jobs(request, commands))
    done: set[Path] = set()
    while len(done) < len(jobs):
        before = len(done)
        for job in jobs:
            if job.directory not in done and done.issuperset(job.needs) and _done_here(job):
                done.add(job.directory)
        if len(done) == before:
            left = len(jobs) - before
            say(f"{left} of {len(jobs)} are left to other processes; the last one to end prints all of them")
            break
    return kept_results(request.plan, request.out)


def _jobs(request: StudyRequest, commands: _Commands) -> Iterator[_Job]:
    for network, seed in request.plan.runs():
        directory = run_directory(request.out, network, seed)
        before = network.init or network.trained
        needs = (run_directory(request.out, request.plan.network(before), seed),) if before else ()
        do = (
            partial(_test, request, directory, needs, commands, network.test)
            if network.trained
            else partial(_train_and_test, request, network, seed, commands, *needs)
        )
        yield _Job(directory=directory, needs=needs, do=do)
    for ensemble in request.plan.ensembles:
        members = tuple(_member_directories(request, ensemble))
        directory = ensemble_directory(request.out, ensemble)
        yield _Job(directory=directory, needs=members, do=partial(_test, request, directory, members, commands))


def _member_directories(request: StudyRequest, ensemble: Ensemble) -> Iterator[Path]:
    for name in ensemble.members:
        network = request.plan.network(name)
        yield from (run_directory(request.out, network, seed) for seed in network.seeds)


def _done_here(job: _Job) -> bool:
    """Do what is left of a job, perhaps nothing; False where another process has it."""
    job.directory.mkdir(parents=True, exist_ok=True)
    try:
        with owned(job.directory / LOCK_NAME):
            job.do()
    except LockHeldError as error:
        say(f"{job.directory}: process {error.owner} is at it; passed over")
        return False
    return True


def _train_and_test(
    request: StudyRequest, network: Network, seed: int, commands: _Commands, start: Path | None = None
) -> None:
    """Train a network, from the weights of the run `start` where one is named, and test it."""
    directory, shards = run_directory(request.out, network, seed), request.shards[network.shards]
    words = ["alexnet-train", "--shards", shards, "--recipe", network.recipe]
    for setting in (*network.settings, f"seed={seed}"):
        words += ["--set", setting]
    if start:
        words += ["--init", _checkpoint_of(start)]
    words = [*words, *request.options, "--out", str(directory)]
    trained = commands.once(directory / TRAINED_NAME, tuple(words), shards)
    checkpoint = str(trained["checkpoint"])
    _test(request, directory, (directory,), commands)
    seen = ("alexnet-eval", "--checkpoint", checkpoint, "--shards", shards, "--views", "1")
    commands.once(directory / SEEN_NAME, seen, shards)


def _checkpoint_of(directory: Path) -> str:
    """The last checkpoint of a run that has been trained."""
    return str(read_kept(directory / TRAINED_NAME)["result"]["checkpoint"])


def _test(
    request: StudyRequest, directory: Path, runs: tuple[Path, ...], commands: _Commands, how: tuple[str, ...] = ()
) -> None:
    """Errors of the networks of `runs`, averaged, on the test shards: over the plan's views, and with the centre view."""
    named = [word for run in runs for word in ("--checkpoint", _checkpoint_of(run))]
    words = ("alexnet-eval", *named, "--shards", request.test_shards, *how, "--views")
    for views in sorted({request.plan.views, 1}, reverse=True):
        commands.once(directory / views_name(views), (*words, str(views)), request.test_shards)
