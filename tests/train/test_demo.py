"""`make demo` in small: every step runs, a second time nothing is done twice, and the table tells the results."""

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit


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
    assert [page.parent.name for page in pages] == ["shards", "run"]
    assert all(page.stat().st_size > 500_000 for page in pages), "the charts' library is in them"
    table = second.partition("\n\n")[0].splitlines()[1:]  # below the title, which names the directory
    assert len(table) >= 6
    assert all(len(line) <= 80 for line in table)
