"""A run's files as its page reads them: records by kind, when it last spoke, where it went on."""

import json
import os
from pathlib import Path

import pytest

from alexnet_shards import AlexnetError
from alexnet_train.activity import note_start
from alexnet_train.recipe import load_recipe, save_recipe
from alexnet_train.runfiles import MAX_RESUMES, read_run


def test_what_a_directory_says(tmp_path: Path) -> None:
    with pytest.raises(AlexnetError, match=r"no recipe.toml.*expected the directory of a run"):
        read_run(tmp_path)
    save_recipe(tmp_path / "recipe.toml", load_recipe("demo", ["num_classes=3"]))
    bare = read_run(tmp_path)
    assert (bare.spoke_at, list(bare.epochs), bare.marks) == (0.0, [], {"step": {}, "epoch": {}})
    lines = [
        {"kind": "step", "step": 5},
        {"kind": "epoch", "step": 10, "epoch": 1},
        {"kind": "epoch", "step": 20, "epoch": 2},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    os.utime(tmp_path / "metrics.jsonl", (1000, 1000))
    for step in (0, 15, 20):
        note_start(tmp_path, step)
    run = read_run(tmp_path)
    assert ([r["step"] for r in run.steps], [r["step"] for r in run.epochs], run.spoke_at) == ([5], [10, 20], 1000)
    words = {15: "went on at step 15", 20: "went on at step 20"}
    assert run.marks == {"step": words, "epoch": {1.5: words[15], 2.0: words[20]}}
    for step in range(100, 300):
        note_start(tmp_path, step)
    assert list(read_run(tmp_path).marks["step"]) == list(range(300 - MAX_RESUMES, 300))
