"""The examples, each run in an environment of its kind against fresh shards, as a table with versions.

Each file of examples/ says at its top what it needs (PEP 723) and which environment it shares: clients that get along
share one below .venv-clients/, which is made once and kept. One that does not install is listed with pip's error. An
example prints how many samples it saw and the sum of their labels, which must be those of the tars, or "ok: …".
"""

import argparse
import datetime
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
HOME = ROOT / ".venv-clients"
BLOCK = re.compile(r"^# /// script\n((?:#.*\n)+?)# ///$", re.MULTILINE)
PROJECT = "alexnet-replication"
TIMEOUT_SECONDS = 600


@dataclass(frozen=True, kw_only=True)
class Example:
    """One file of examples/: its title, what it needs, and the environment that it shares."""

    path: Path
    title: str
    needs: tuple[str, ...]
    venv: str


def read_example(path: Path) -> Example:
    """The example at `path`; raises ValueError where its head says not what it needs."""
    text = path.read_text()
    match = BLOCK.search(text)
    if match is None:
        raise ValueError(f"{path}: no PEP 723 block at its top")
    facts = tomllib.loads(re.sub(r"^# ?", "", match[1], flags=re.MULTILINE))
    title = re.search(r'^"""(.*)"""$', text, re.MULTILINE)
    if title is None:
        raise ValueError(f"{path}: no line that says what it is")
    needs = tuple(facts["dependencies"])
    return Example(path=path, title=title[1], needs=needs, venv=facts["tool"]["clients"]["venv"])


def words_of_pip(needs: list[str]) -> list[str]:
    """Requirements as pip takes them: the project itself is this checkout."""
    return [f"-e{ROOT}{need.removeprefix(PROJECT)}" if need.startswith(PROJECT) else need for need in needs]


def install(home: Path, needs: list[str]) -> str:
    """Make the environment `home` hold `needs`, if it does not yet; returns pip's error, "" where all is well."""
    stamp, wanted = home / ".installed", "\n".join(needs)
    if stamp.is_file() and stamp.read_text() == wanted:
        return ""
    print(f"clients: installing {home.name}", file=sys.stderr, flush=True)
    if not (home / "bin" / "pip").exists():  # pip comes last
        venv.create(home, with_pip=True, clear=True)
    command = [str(home / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    # The project's torch is the pinned one, never whatever is newest.
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch==")]
    pins = pins if any(need.startswith(PROJECT) for need in needs) else []
    done = subprocess.run(command + words_of_pip(needs) + pins, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if "error" in line.lower()]
        return errors[0].strip() if errors else "pip failed"
    stamp.write_text(wanted)
    return ""


def make_data(work: Path) -> tuple[int, int]:
    """Shards with all side files, a run of one epoch and its exports in `work`; returns samples and sum of labels."""

    def run(module: str, *words: str) -> None:
        subprocess.run(
            [sys.executable, "-m", module, *words, "--json"], cwd=work, check=True, stdout=subprocess.DEVNULL
        )

    prep, train = "alexnet_prep.cli", "alexnet_train.cli"
    run(prep, "sample", "sample", "--classes", "4", "--train-per-class", "20", "--val-per-class", "4")
    run(prep, "shards", "--source", "sample", "--out", "shards", "--num-shards", "4")
    run(prep, "compute-stats", "--shards", "shards/train-*.tar")
    run(prep, "index", "--shards", "shards/train-*.tar", "--for", "timm", "--for", "dali", "--for", "wids")
    short = ("--set", "epochs=1", "--set", "batch_size=16", "--device", "cpu", "--tensorboard")
    run(train, "train", "--shards", "shards/train-*.tar", "--recipe", "torchvision", *short, "--out", "run")
    run(train, "export", "--checkpoint", "run", "--to", "onnx", "--with-input", "--out", "alexnet.onnx")
    run(train, "export", "--checkpoint", "run", "--to", "torchvision", "--out", "alexnet-torchvision.pth")
    labels = []
    for path in (work / "shards").glob("train-*.tar"):
        with tarfile.open(path) as archive:
            members = [member for member in archive if member.name.endswith(".cls")]
            labels += [int(archive.extractfile(member).read()) for member in members]  # type: ignore[union-attr]
    return len(labels), sum(labels)


def versions(home: Path, needs: tuple[str, ...]) -> str:
    """ "name version" of what an example names as they are installed, and of torch where it names the project."""
    names = ["torch" if need.startswith(PROJECT) else re.split(r"[\[=<>]", need)[0] for need in needs]
    if not names:
        return ""
    code = f"import importlib.metadata as m; print(', '.join(f'{{n}} {{m.version(n)}}' for n in {names!r}))"
    done = subprocess.run([home / "bin" / "python", "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def run_example(example: Example, home: Path, work: Path, expected: tuple[int, int]) -> dict[str, Any]:
    """What became of one example: {"outcome", "versions", "seconds"}."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"PATH": f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}
    started = time.monotonic()
    try:
        done = subprocess.run(
            [home / "bin" / "python", example.path, work],
            capture_output=True,
            env=environment,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"outcome": f"FAILED: no end after {TIMEOUT_SECONDS} s", "versions": "", "seconds": TIMEOUT_SECONDS}
    last = (done.stdout.strip().splitlines() or [""])[-1]
    if done.returncode != 0:
        outcome = f"FAILED: {(done.stderr.strip().splitlines() or ['no word'])[-1][:200]}"
        (work / f"{example.path.stem}.log").write_text(done.stderr)
    elif last == f"{expected[0]} {expected[1]}":
        outcome = f"every sample of {expected[0]} once"
    else:
        outcome = last if last.startswith("ok: ") else f"FAILED: said {last!r}, expected {expected[0]} {expected[1]}"
    seconds = round(time.monotonic() - started, 1)
    return {"outcome": outcome, "versions": versions(home, example.needs), "seconds": seconds}


def main(names: list[str]) -> int:
    """Install, run and print the table; the exit status is 1 where an example that installs failed."""
    every = [read_example(path) for path in sorted((ROOT / "examples").glob("*.py"))]
    chosen = [example for example in every if not names or example.path.stem in names]
    needs: dict[str, list[str]] = {}
    for example in every:  # all of an environment's, so that a choice of examples does not make it anew
        needs.setdefault(example.venv, []).extend(example.needs)
    troubles = {name: install(HOME / name, sorted(set(needs[name]))) for name in sorted({one.venv for one in chosen})}
    print(f"\n{datetime.date.today().isoformat()}, Python {sys.version.split()[0]}\n")
    print("| client | example | versions | what it saw | seconds |\n|---|---|---|---|---|")
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        expected = make_data(Path(folder))
        for example in chosen:
            found: dict[str, Any] = {
                "outcome": f"does not install: {troubles[example.venv]}",
                "versions": "",
                "seconds": 0.0,
            }
            if not troubles[example.venv]:
                found = run_example(example, HOME / example.venv, Path(folder), expected)
            failed += found["outcome"].startswith("FAILED")
            client = example.title.partition(":")[0]
            name = example.path.name
            cells = (
                client,
                f"[{name}](../examples/{name})",
                found["versions"],
                found["outcome"],
                str(found["seconds"]),
            )
            print(f"| {' | '.join(cells)} |", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="examples to run, by name without .py; all where none is named")
    sys.exit(main(parser.parse_args().names))
