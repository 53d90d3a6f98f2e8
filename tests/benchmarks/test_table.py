"""The whole program, short: few drawn photos, no peers; and what it says of wrong words."""

import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from benchmarks.machine import MemoryWatch, busy_processes, pinned
from benchmarks.rows.stats import error
from benchmarks.table import PARTS, main

ROOT = Path(__file__).parents[2]


def test_a_quick_run_measures_prints_and_keeps(tmp_path: Path) -> None:
    words = ["--quick", "--rows", "prep,stats", "--out", str(tmp_path), "--name", "quick"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.table", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (page,) = tmp_path.glob("*-quick.md")
    assert page.read_text().rstrip() == done.stdout.rstrip()
    kept = json.loads(page.with_suffix(".json").read_text())
    assert {"hardware", "versions", "load average before", "load average after", "command"} <= kept["facts"].keys()
    prep, stats = kept["parts"]
    assert not prep["reasons"], prep["reasons"]
    ours = prep["values"]["ours"]
    assert ours["one"][0] > 0
    assert ours["psnr"][0] > 30
    assert prep["values"]["limit: bare decode"]["cpu"][0] < ours["cpu"][0]
    found = stats["values"]
    assert found["ours"]["covariance"][0] < 1e-15  # exact, rounded once
    assert found["averages of per-image means"]["covariance"][0] > 0.01


def test_words_that_are_wrong(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for words, told in (
        (["--rows", "prep,fish"], "no part fish"),
        (["--data", str(tmp_path / "none")], "is no folder"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2
        assert told in capsys.readouterr().err


def test_every_part_has_a_share() -> None:
    assert sum(share for _, share in PARTS.values()) == pytest.approx(1, abs=0.3)


def test_the_error_is_of_the_largest_value() -> None:
    assert error(np.array([1.0, 4.5]), [Fraction(1), Fraction(4)]) == pytest.approx(0.125)


def test_busy_processes_end_with_the_block() -> None:
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    before = set(children.read_text().split())
    with pinned((min(os.sched_getaffinity(0)),)):
        with busy_processes(2):
            assert len(set(children.read_text().split()) - before) == 2
        assert len(os.sched_getaffinity(0)) == 1
    assert set(children.read_text().split()) == before


def test_the_memory_of_children_is_seen() -> None:
    code = "import time; held = bytearray(80 << 20); held[::4096] = b'x' * len(held[::4096]); time.sleep(1.5)"
    with MemoryWatch() as watch:
        subprocess.run([sys.executable, "-c", code], check=True)
    assert 80 < watch.peak_mib < 160
