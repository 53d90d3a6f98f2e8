"""A checkpoint of another run is refused."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from alexnet_shards.adopt import LabelRules, index_shards
from alexnet_shards.errors import AlexnetError
from alexnet_shards.labels import LabelPlace
from alexnet_shards.shardset import open_shards
from alexnet_train.recipe import load_recipe
from alexnet_train.resume import check_same_run
from alexnet_train.rundata import RunData, open_run_data


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


def test_other_labels_of_the_same_shards_are_refused(
    shard_tools: SimpleNamespace, make_run: Callable[..., str], tmp_path: Path
) -> None:
    tar = tmp_path / "train-000.tar"
    labels = [("0", {"coarse": 0, "fine": 1}), ("1", {"coarse": 1, "fine": 0})]
    members = [
        (f"{key}{suffix}", text)
        for key, both in labels
        for suffix, text in ((".jpg", b"jpeg"), (".json", json.dumps(both).encode()))
    ]
    shard_tools.write_tar(tar, members)
    stats = open_run_data([make_run(tmp_path / "other")], (), None).stats
    recipe = load_recipe("demo", ["num_classes=2"])

    def indexed(field: str) -> RunData:
        index_shards([str(tar)], 1, lambda done, total: None, LabelRules(place=LabelPlace.parse(f"json:{field}")))
        return RunData(train=open_shards([str(tar)]), val=None, stats=stats)

    before = indexed("coarse")
    path, content = tmp_path / "step-00000001.pt", {"recipe": asdict(recipe), "shards": before.train.fingerprint}
    now = indexed("fine")
    assert now.train.fingerprint == before.train.fingerprint
    check_same_run(path, content, recipe, now)  # of a version that did not keep the labels
    with pytest.raises(AlexnetError, match="with other labels or in another order"):
        check_same_run(path, content | {"rows": before.train.rows_sha256}, recipe, now)
    check_same_run(path, content | {"rows": before.train.rows_sha256}, recipe, indexed("coarse"))


def test_the_same_shards_in_another_order_are_refused(make_run: Callable[..., str], tmp_path: Path) -> None:
    both = [make_run(tmp_path / name, sizes) for name, sizes in (("a", (5,)), ("b", (6,)))]
    stats = open_run_data(both[:1], (), None).stats
    there, back = (RunData(train=open_shards(names), val=None, stats=stats) for names in (both, both[::-1]))
    recipe = load_recipe("demo", ["num_classes=7"])
    content = {"recipe": asdict(recipe), "shards": there.train.fingerprint, "rows": there.train.rows_sha256}
    check_same_run(tmp_path / "step-00000001.pt", content, recipe, there)
    with pytest.raises(AlexnetError, match="with other labels or in another order"):
        check_same_run(tmp_path / "step-00000001.pt", content, recipe, back)
