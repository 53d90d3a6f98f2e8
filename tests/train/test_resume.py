"""A checkpoint of another run is refused; damaged ones are named and passed over."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from alexnet_shards.errors import AlexnetError
from alexnet_train.checkpoint import checkpoint_path, save_checkpoint
from alexnet_train.metrics import MetricsLog
from alexnet_train.progress import RunProgress
from alexnet_train.recipe import load_recipe
from alexnet_train.resume import check_same_run, last_epoch_record, newest_checkpoint
from alexnet_train.rundata import open_run_data

EMPTY: dict[str, Any] = {"recipe": {}, "model": {}, "stats": {}, "classes": [], "words": [], "epoch": 0}


def test_another_recipe_or_other_shards_are_refused(make_run: Callable[..., str], tmp_path: Path) -> None:
    data, recipe = open_run_data([make_run(tmp_path)], (), None), load_recipe("demo", ["num_classes=7"])
    content = {"recipe": asdict(recipe), "shards": data.train.fingerprint}
    path = tmp_path / "step-00000001.pt"
    check_same_run(path, content, recipe, data)
    free = ["num_classes=7", "epochs=500", "keep_checkpoints=9", "log_every_steps=1", "checkpoint_every_minutes=5"]
    check_same_run(path, content, replace(load_recipe("demo", free), name="other"), data)
    with pytest.raises(AlexnetError, match=r"optim.learning_rate was 0.01, now 0.5"):
        check_same_run(path, content, load_recipe("demo", ["num_classes=7", "learning_rate=0.5"]), data)
    with pytest.raises(AlexnetError, match=r"train.batch_size was 32, now 64; choose another --out"):
        check_same_run(path, content, load_recipe("demo", ["num_classes=7", "batch_size=64"]), data)
    with pytest.raises(AlexnetError, match="other training shards"):
        check_same_run(path, content | {"shards": "0" * 64}, recipe, data)


def test_the_newest_whole_checkpoint_is_found(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for step in (1, 2, 3):
        save_checkpoint(checkpoint_path(tmp_path, step), EMPTY | {"step": step})
    for step in (2, 3):
        path = checkpoint_path(tmp_path, step)
        path.write_bytes(path.read_bytes()[:-50])
    with RunProgress("train", "steps") as progress:
        assert newest_checkpoint(tmp_path, progress) == checkpoint_path(tmp_path, 1)
        checkpoint_path(tmp_path, 1).unlink()
        assert newest_checkpoint(tmp_path, progress) is None
    assert capfd.readouterr().err.count("warning: ") == 4


def test_last_epoch_record(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    log.write("step", 1, {})
    with pytest.raises(AlexnetError, match="no finished epoch"):
        last_epoch_record(path)
    log.write("epoch", 2, {"epoch": 1})
    log.write("epoch", 4, {"epoch": 2})
    log.write("step", 5, {})
    assert last_epoch_record(path)["epoch"] == 2
