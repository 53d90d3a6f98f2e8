"""The command of a study: its tables of what is there, and what it says of what is not."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from alexnet_train.chain import Step
from alexnet_train.studyruns import StudyRequest, run_study


def study(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "alexnet_train.study", "plan.toml", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)


def test_the_tables_of_what_is_there_are_printed_without_a_run(
    tmp_path: Path, study_request: Callable[..., StudyRequest], printed: Callable[[tuple[str, ...]], Step]
) -> None:
    request = study_request()
    results = run_study(request, printed)
    (request.out / "second" / "seed-3" / "seen.json").unlink()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    done = study(tmp_path, "--out", "out", "--table")
    assert done.returncode == 0, done.stderr
    assert "1 of 2 networks are whole" in done.stderr
    lines = done.stdout.splitlines()
    assert lines[2].split() == ["first", "1", "50.0", "10.0"]
    assert not any(line.startswith("second") for line in lines)
    assert json.loads(study(tmp_path, "--out", "out", "--table", "--json").stdout) == {
        "title": "Two networks",
        "networks": {"first": {"3": asdict(results.networks["first"][3])}},
        "ensembles": {"both": asdict(results.ensembles["both"])},
    }
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_what_is_wrong_is_one_line(
    tmp_path: Path, study_request: Callable[..., StudyRequest], printed: Callable[[tuple[str, ...]], Step]
) -> None:
    request = study_request()
    nothing = study(tmp_path, "--table")
    assert (nothing.returncode, len(nothing.stderr.splitlines())) == (1, 1)
    assert "no network of this study is whole" in nothing.stderr
    assert study(tmp_path).returncode == 2
    run_study(request, printed)
    (request.out / "first" / "seed-3" / "views-1.json").write_text('{"result": 3}')
    damaged = study(tmp_path, "--out", "out", "--table")
    assert (damaged.returncode, len(damaged.stderr.splitlines())) == (1, 1)
