"""`make demo` in small: every step runs, a second time nothing is done twice, and the table tells the results."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from alexnet_train.chain import Step
from alexnet_train.demo import is_kept, summary_lines


def demo(directory: Path, columns: str) -> str:
    """What the demo prints, on 3 photos a class and one short epoch."""
    command = [sys.executable, "-m", "alexnet_train.demo", str(directory), "--train-per-class", "6"]
    command += ["--set", "epochs=1", "--set", "width=0.0625", "--set", "batch_size=16"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=280, check=False, env={**os.environ, "COLUMNS": columns}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_whole_job_and_again(tmp_path: Path) -> None:
    first = demo(tmp_path / "demo", "220")
    for words in ("draw the source", "make shards", "statistics", "train", "evaluate", "200 images, 10 views"):
        assert words in first
    kept = [tmp_path / "demo" / "run" / "checkpoints" / "evaluations.json", tmp_path / "demo" / "shards" / "stats.npz"]
    files = [path for suffix in ("tar", "pt") for path in (tmp_path / "demo").rglob(f"*.{suffix}")]
    written = {path: path.stat().st_mtime_ns for path in [*files, *kept]}
    assert len(files) >= 6
    second = demo(tmp_path / "demo", "80")
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert "in all" in second
    pages = [Path(unquote(urlsplit(word).path)) for word in second.split() if word.startswith("file:")]
    assert [f"{page.parent.name}/{page.name}" for page in pages] == [
        "shards/report.html",
        "run/report.html",
        "run/evaluation.html",
    ]
    assert all(page.stat().st_size > 500_000 for page in pages), "the charts' library is in them"
    table = second.partition("\n\n")[0].splitlines()[1:]  # below the title, which names the directory
    assert len(table) >= 6
    assert all(len(line) <= 80 for line in table)


def test_without_the_extra_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    results: list[Any] = [
        {},
        [{"split": "val", "written": 1, "dropped": [], "members": 1}],
        {"rgb_mean": [1.0, 2.0, 3.0]},
        {"epoch": 1, "step": 2, "train_loss": 3.0, "checkpoint": "x"},
        {"images": 1, "views": 10, "top1_error": 0.5, "top5_error": 0.1},
    ]
    lines = summary_lines(tmp_path, [Step(words=(), seconds=1.0, result=result) for result in results])
    assert any("pip install '.[report]'" in line for line in lines)
    assert not any(line.startswith("a page to look at") for line in lines)
    page = tmp_path / "evaluation.html"
    page.write_text("x")
    (tmp_path / "x.pt").write_text("x")
    os.utime(page, (1, 1))
    assert not is_kept(page, str(tmp_path / "x.pt"))
