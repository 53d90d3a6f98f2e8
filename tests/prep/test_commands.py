"""The command line: bad input is one line and status 1, wrong usage status 2, results stdout, progress stderr."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from alexnet_command.options import Renamed
from alexnet_pixels import FILTERS
from alexnet_prep.commands import commands
from alexnet_prep.options import FILTERS as OFFERED

README = Path(__file__).parents[2] / "README.md"


def error_line(done: subprocess.CompletedProcess[str]) -> str:
    """The one error line of a failed command."""
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.stderr.rstrip().splitlines()[-1] == line
    return line


def test_bad_sources_are_one_line(tmp_path: Path, prep: Any, small_source: Any) -> None:
    out = tmp_path / "out"
    assert "no such directory" in error_line(prep("shards", "--source", tmp_path / "none", "--out", out, status=1))
    (tmp_path / "empty").mkdir()
    assert "no ImageNet source found" in error_line(
        prep("shards", "--source", tmp_path / "empty", "--out", out, status=1)
    )
    archive = small_source.directory / "ILSVRC2010_images_val.tar"
    whole = archive.read_bytes()
    archive.write_bytes(bytes(10240))
    line = error_line(prep("shards", "--source", small_source.directory, "--out", out, "--split", "val", status=1))
    assert "ILSVRC2010_images_val.tar: holds no image" in line
    archive.write_bytes(whole)
    devkit = small_source.directory / "ILSVRC2010_devkit-1.0.tar.gz"
    devkit.write_bytes(b"not a devkit")
    line = error_line(prep("shards", "--source", small_source.directory, "--out", out, "--split", "val", status=1))
    assert "unreadable devkit" in line
    devkit.unlink()
    line = error_line(prep("shards", "--source", small_source.directory, "--out", out, "--split", "val", status=1))
    assert "ILSVRC2010_devkit-1.0.tar.gz" in line
    assert not [path for path in out.rglob("*") if path.is_file() and path.name != ".lock"]


def test_a_split_that_is_not_there(small_source: Any, tmp_path: Path, prep: Any) -> None:
    (small_source.directory / "ILSVRC2010_images_test.tar").unlink()
    done = prep("shards", "--source", small_source.directory, "--out", tmp_path / "out", "--split", "test", status=1)
    assert "has no test split; found train, val" in error_line(done)


@pytest.mark.parametrize("pattern", ["train-{000..", "train-<9..1>.tar", "none-*.tar", "none.tar"])
def test_unreadable_patterns_are_one_line(tmp_path: Path, prep: Any, pattern: str) -> None:
    done = prep("compute-stats", "--shards", tmp_path / pattern, "--out", tmp_path / "stats.npz", status=1)
    assert pattern.split("/")[-1][:4] in error_line(done)
    assert not list(tmp_path.iterdir())


def test_wrong_usage_is_status_2(prep: Any, tmp_path: Path) -> None:
    assert "Usage" in prep("shards", status=2).stderr
    assert "No such option" in prep("shards", "--source", tmp_path, "--nonsense", status=2).stderr
    assert "No such command" in prep("nonsense", status=2).stderr
    assert "Invalid value" in prep("shards", "--source", tmp_path, "--quality", 101, status=2).stderr


def test_json_is_all_of_stdout(small_source: Any, tmp_path: Path, prep: Any) -> None:
    words = ("shards", "--source", small_source.directory, "--out", tmp_path / "out")
    (train, _, _) = json.loads(prep(*words, "--json").stdout)
    assert train.keys() >= {
        "split",
        "members",
        "written",
        "patched",
        "dropped",
        "converted",
        "shards",
        "images_per_second",
    }
    table = prep(*words)
    assert "train" in table.stdout
    assert "decoder: " in table.stderr
    (report, *_) = json.loads(prep("report", "--shards", tmp_path / "out", "--json").stdout)
    assert report["members"] == train["members"] or report["split"] != "train"


def test_help_lists_every_command_and_option(prep: Any) -> None:
    text = prep("--help").stdout
    for name, command in commands.commands.items():
        assert name in text
        shown = prep(name, "--help").stdout
        for parameter in command.params:
            for option in parameter.opts[:1] if isinstance(parameter, Renamed) else parameter.opts:
                if option.startswith("--"):
                    assert option in shown


def test_the_readme_names_every_command() -> None:
    text = README.read_text()
    for name in commands.commands:
        assert re.search(rf"alexnet-prep {name}\b", text), f"README.md does not mention alexnet-prep {name}"


def test_options_offer_what_there_is() -> None:
    assert OFFERED == FILTERS


def test_prep_never_loads_torch() -> None:
    modules = "cli, alexnet_prep.pipeline, alexnet_prep.statistics, alexnet_prep.verify, alexnet_drawn"
    code = f"import sys, alexnet_prep.{modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_sample_command(tmp_path: Path, prep: Any) -> None:
    words = (
        "sample",
        tmp_path / "sample",
        "--train-per-class",
        2,
        "--val-per-class",
        1,
        "--test-per-class",
        1,
        "--classes",
        3,
    )
    facts = json.loads(prep(*words, "--json").stdout)
    assert facts["members"] == {"train": 6, "val": 3, "test": 3}
    assert "there already" in prep(*words).stdout
    assert "error: " in prep(*words, "--seed", 5, status=1).stderr


def test_every_command_takes_a_folder_a_pattern_or_words(small_source: Any, tmp_path: Path, prep: Any) -> None:
    out = tmp_path / "out"
    prep("shards", "--source", small_source.directory, "--out", out, "--num-shards", 2)
    ways = [(out,), (out / "train-*.tar",), (out / "train-<000..001>.tar",), tuple(sorted(out.glob("train-*.tar")))]
    for way in ways:
        (report, *more) = json.loads(prep("report", "--shards", *way, "--json").stdout)
        assert (report["split"], len(more)) == (("test", 2) if way == ways[0] else ("train", 0))
        assert json.loads(prep("verify", "--split", "train", "--shards", *way, "--json").stdout)["shards"] == 2
        facts = json.loads(prep("compute-stats", "--shards", *way, "--json").stdout)
        assert facts["out"] == str(out / "stats.npz")
        assert facts["reused"] == (way != ways[0])
    for way in ((out,), tuple(sorted(out.glob("*.tar")))):
        sets = json.loads(prep("index", "--shards", *way, "--json").stdout)["sets"]
        assert [one["split"] for one in sets] == ["test", "train", "val"]
    line = error_line(prep("compute-stats", "--shards", out / "train-<000..999>.tar", status=1))
    assert f"2 are there: name them '{out}/train-*.tar'" in line


def test_statistics_that_are_there_are_kept(small_source: Any, tmp_path: Path, prep: Any) -> None:
    out = tmp_path / "out"
    prep("shards", "--source", small_source.directory, "--out", out)
    words = ("compute-stats", "--shards", out)
    assert "written" in prep(*words).stdout.splitlines()[-1]
    whole, made = (out / "stats.npz").read_bytes(), (out / "stats.npz").stat().st_mtime_ns
    kept = prep(*words)
    assert "kept (--again computes them anew)" in kept.stdout
    assert kept.stderr == ""
    assert (out / "stats.npz").stat().st_mtime_ns == made
    for damage in (whole[:100], b""):
        (out / "stats.npz").write_bytes(damage)
        assert "written" in prep(*words).stdout.splitlines()[-1]
        assert (out / "stats.npz").read_bytes() == whole
    assert not json.loads(prep(*words, "--again", "--json").stdout)["reused"]
