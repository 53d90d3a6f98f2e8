"""A checkpoint of another run is refused."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from alexnet_shards.errors import AlexnetError
from alexnet_train.recipe import load_recipe
from alexnet_train.resume import check_same_run
from alexnet_train.rundata import open_run_data


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
