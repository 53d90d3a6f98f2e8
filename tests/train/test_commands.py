"""The commands as a user types them: results on stdout, one line on stderr for a mistake, exit status 0, 1 or 2."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alexnet_network import AVERAGES as OF_NETWORKS
from alexnet_shards.shardset import open_shards
from alexnet_train.checkpoint import load_checkpoint
from alexnet_train.classlist import list_sha256
from alexnet_train.commandoptions import AVERAGES, DEFAULT_RECIPE, FORMATS, ORDERS, SOURCES
from alexnet_train.export import FORMATS as EXPORTED
from alexnet_train.importer import ORDERS as CAFFE_ORDERS
from alexnet_train.importer import SOURCES as IMPORTED
from alexnet_train.recipe import DEFAULT_RECIPE as OF_RECIPES
from alexnet_train.rundata import sort_paths

SMALL = ["--recipe", "demo", "--set", "width=0.0625", "--set", "batch_size=5", "--set", "epochs=1"]


def failure(result: Any) -> str:
    """The one line of a failed command."""
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return str(lines[0])


def test_train_then_eval(run: Any, make_run: Callable[..., str], tmp_path: Path) -> None:
    pattern, out = make_run(tmp_path / "shards"), tmp_path / "run"
    trained = run("train", "--shards", pattern, *SMALL, "--out", out, "--json")
    assert trained.exit_code == 0, trained.output
    record = json.loads(trained.stdout)
    assert record.keys() >= {
        "epoch", "step", "train_loss", "val_top1_error", "val_top5_error", "images_per_second", "data_wait_fraction",
        "checkpoint",
    }  # fmt: skip
    val = f"{tmp_path}/shards/val-<000..001>.tar"
    for views in (1, 10):
        words = ("--checkpoint", record["checkpoint"], "--shards", val, "--views", str(views), "--json")
        evaluated = run("eval", *words)
        assert evaluated.exit_code == 0, evaluated.output
        found = json.loads(evaluated.stdout)
        assert (found["images"], found["views"]) == (11, views)
        if views == 1:
            assert (found["top1_error"], found["top5_error"]) == (record["val_top1_error"], record["val_top5_error"])
            assert found["loss"] == pytest.approx(record["val_loss"], rel=1e-5)
        assert (found["split"], found["shards"], found["classes"]) == ("val", [val], 7)
        assert found["checkpoints"] == [record["checkpoint"]]
        shards = open_shards([val])
        assert found["shards_fingerprint"] == shards.fingerprint
        assert found["class_list_sha256"] == list_sha256(shards.classes)
    text = run("eval", *words[:4], "--views", "1")
    assert re.search(r"^split +val$", text.stdout, re.MULTILINE)


def test_eval_of_another_order_of_classes_says_so(run: Any, make_run: Callable[..., str], tmp_path: Path) -> None:
    pattern, out = make_run(tmp_path / "shards"), tmp_path / "run"
    assert run("train", "--shards", pattern, *SMALL, "--out", out).exit_code == 0
    words = ["--checkpoint", out, "--shards", f"{tmp_path}/shards/val-*.tar", "--views", "1", "--json"]
    before = run("eval", *words)
    assert "another order" not in before.stderr
    path = tmp_path / "shards" / "val.manifest.json"
    manifest = json.loads(path.read_text())
    manifest["classes"].reverse()  # as if label 0 had been the last class: what the network says is the same
    path.write_text(json.dumps(manifest))
    after = run("eval", *words)
    assert after.exit_code == 0, after.output
    assert (
        "best.pt: the shards list the same classes in another order, so its outputs are put in theirs" in after.stderr
    )
    assert json.loads(after.stdout)["class_list_sha256"] != json.loads(before.stdout)["class_list_sha256"]


def test_an_ensemble_and_the_worst_classes(run: Any, make_run: Callable[..., str], tmp_path: Path) -> None:
    pattern, paths = make_run(tmp_path / "shards"), []
    for seed in ("1", "2"):
        words = [*SMALL, "--set", f"seed={seed}", "--out", str(tmp_path / seed), "--json"]
        paths += ["--checkpoint", json.loads(run("train", "--shards", pattern, *words).stdout)["checkpoint"]]
    val = f"{tmp_path}/shards/val-*.tar"
    result = run("eval", *paths, "--shards", val, "--views", "1", "--worst", "3", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["images"] == 11
    assert 1 <= len(found["worst"]) <= 3
    assert found["worst"][0].keys() == {"wnid", "words", "images", "top1_error", "taken_for"}


def test_text_results(run: Any, make_run: Callable[..., str], tmp_path: Path) -> None:
    trained = run("train", "--shards", make_run(tmp_path / "shards"), *SMALL, "--out", tmp_path / "run")
    assert trained.exit_code == 0
    assert dict(line.split("  ", 1) for line in trained.stdout.splitlines())["step"].strip() == "3"
    assert "validation top-1 error" in trained.stdout
    assert "%" in trained.stdout


def test_options_offer_what_there_is() -> None:
    assert (EXPORTED, tuple(CAFFE_ORDERS)) == (FORMATS, ORDERS)
    assert (SOURCES, DEFAULT_RECIPE) == (IMPORTED, OF_RECIPES)
    assert tuple(OF_NETWORKS) == AVERAGES


@pytest.mark.parametrize("spelling", ["train-{000..001}.tar", "train-<000..001>.tar", "train-*.tar", "words"])
def test_four_spellings_of_the_shards(run: Any, spelling: str, make_run: Callable[..., str], tmp_path: Path) -> None:
    make_run(tmp_path)
    paths = [f"{tmp_path}/train-000.tar", f"{tmp_path}/train-001.tar"]
    shards = paths if spelling == "words" else [f"{tmp_path}/{spelling}"]
    result = run("train", "--shards", *shards, *SMALL, "--dry-run", "--json", "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["train_images"], found["val_images"], found["batch_shape"]) == (17, 11, [5, 3, 224, 224])
    assert found.keys() >= {"parameters", "multiply_adds", "batch_shape", "seconds_per_epoch"}
    assert not (tmp_path / "run").exists()


def test_words_of_two_expanded_patterns_are_told_apart() -> None:
    words = ["a/train-000.tar", "a/train-001.tar", "b/val-001.tar", "a/train-002.tar"]
    assert sort_paths(words, "b/val-000.tar") == (
        ("a/train-000.tar", "a/train-001.tar", "a/train-002.tar"),
        ("b/val-000.tar", "b/val-001.tar"),
    )
    assert sort_paths(words[:2], None) == (("a/train-000.tar", "a/train-001.tar"), ())
    assert sort_paths(["a"], "b") == (("a",), ("b",))
    assert sort_paths(["a/train-*.tar"], "a/train-*.tar") == (("a/train-*.tar",), ("a/train-*.tar",))


def test_mistakes_are_one_line(run: Any, make_run: Callable[..., str], tmp_path: Path) -> None:
    pattern, out = make_run(tmp_path / "shards"), tmp_path / "run"
    words = ["--out", str(out), *SMALL]
    assert "no file matches" in failure(run("train", "--shards", "nowhere/train-*.tar", *words))
    assert "no such shard" in failure(run("train", "--shards", "nowhere/train-{000..999}.tar", *words))
    assert "unreadable shard pattern" in failure(run("train", "--shards", "shards/train-{0..}.tar", *words))
    assert "the range runs backwards" in failure(run("train", "--shards", "shards/train-<9..1>.tar", *words))
    assert "did you mean epochs" in failure(run("train", "--shards", pattern, *words, "--set", "epoch=2"))
    assert "did you mean released" in failure(run("train", "--shards", pattern, "--recipe", "release"))
    assert "--device tpu" in failure(run("train", "--shards", pattern, *words, "--device", "tpu"))
    assert "no statistics" in failure(run("train", "--shards", pattern, *words, "--stats", "nowhere.npz"))
    assert "no such checkpoint" in failure(run("eval", "--checkpoint", "nowhere.pt", "--shards", pattern))
    assert not out.exists()


@pytest.mark.parametrize("how", [[], ["--child-process", "--threads", "2"]])
def test_a_bad_sample_stops_the_run_or_is_quarantined(
    run: Any, make_run: Callable[..., str], tmp_path: Path, how: list[str]
) -> None:
    pattern = make_run(tmp_path / "shards")
    path = sorted((tmp_path / "shards").glob("train-*.tar"))[0]
    content = bytearray(path.read_bytes())
    content[2000] ^= 255
    path.write_bytes(content)
    words = ["--shards", pattern, *SMALL, "--out", str(tmp_path / "run"), *how]
    line = failure(run("train", *words))
    assert path.name in line
    assert "alexnet-prep verify" in line
    trained = run("train", *words, "--quarantine", "1", "--json")
    assert trained.exit_code == 0, trained.output
    assert json.loads(trained.stdout)["epoch"] == 1


def test_wrong_usage_is_status_2(run: Any) -> None:
    assert run("train").exit_code == 2
    assert run("eval", "--checkpoint", "a.pt", "--shards", "b", "--views", "3").exit_code == 2


def test_real_processes(make_run: Callable[..., str], tmp_path: Path) -> None:
    """Both ways to start the module, a truncated shard, and a traceback-free failure."""
    make_run(tmp_path / "shards")
    words = ["--shards", f"{tmp_path}/shards/train-{{000..001}}.tar", *SMALL, "--out", f"{tmp_path}/run", "--json"]
    module = [sys.executable, "-m", "alexnet_train.cli"]
    done = subprocess.run([*module, *words], capture_output=True, text=True, check=True)
    checkpoint = Path(json.loads(done.stdout)["checkpoint"])
    assert load_checkpoint(checkpoint)["step"] == 3
    shard = tmp_path / "shards" / "train-001.tar"
    shard.write_bytes(shard.read_bytes()[:-1024])
    done = subprocess.run([*module, "train", *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {shard}: ")
    assert len(done.stderr.splitlines()) == 1
