"""What is said of each image, against one image and one view at a time; padding is nobody's answer."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from alexnet_network import AlexNet, Classifier, DeviceStats
from alexnet_shards import open_shards
from alexnet_shards.stats import load_stats
from alexnet_stream import ShardDataset
from alexnet_train.distributed import World
from alexnet_train.evaluate import EvalConfig, evaluate
from alexnet_train.recipe import load_recipe


@pytest.fixture
def parts(make_run: Callable[..., str], tmp_path: Path) -> SimpleNamespace:
    """Eleven images, three batches of four, and two networks whose views differ."""
    make_run(tmp_path)
    shards = open_shards([f"{tmp_path}/val-*.tar"])
    stds = "init_std=[0.02, 0.15, 0.15, 0.2, 0.2, 0.1, 0.3, 0.02]"
    recipe = load_recipe("released", ["width=0.0625", "num_classes=7", stds])
    stats = DeviceStats.from_stats(load_stats(tmp_path / "stats.npz"))
    networks = [
        Classifier(
            model=AlexNet(recipe.model, torch.Generator().manual_seed(seed)),
            stats=stats,
            input=recipe.input,
            classes=shards.classes,
        )
        for seed in range(2)
    ]
    how = EvalConfig(views=10, batch_size=4, world=World(device=torch.device("cpu")), answers=True)
    return SimpleNamespace(shards=shards, networks=networks, how=how)


def test_answers_equal_one_image_at_a_time(parts: SimpleNamespace) -> None:
    result = evaluate(parts.networks, parts.shards, parts.how)
    plain = evaluate(parts.networks, parts.shards, replace(parts.how, answers=False))
    assert plain.answers is None
    assert result.as_dict() == plain.as_dict()
    answers = result.answers
    assert answers is not None
    assert answers.rows.tolist() == list(range(11))
    assert answers.labels.tolist() == parts.shards.labels.tolist()
    with ShardDataset(parts.shards) as dataset:
        for row in range(11):
            image_nhwc, label = torch.from_numpy(dataset[row][0])[None], dataset[row][1]
            views = torch.stack(
                [one.view_log_probabilities(image_nhwc, 10)[:, 0].exp() for one in parts.networks]
            ).mean(0)
            mean = views.mean(0)
            assert answers.said[row] == mean.argmax()
            assert abs(float(answers.confidences[row]) - float(mean.max())) < 1e-6
            assert answers.ranks[row] == mean.argsort(descending=True).tolist().index(label)
            assert answers.view_said[row].tolist() == views.argmax(1).tolist()
            assert answers.view_ranks[row].tolist() == [int((one > one[label]).sum()) for one in views]
            assert answers.always_wrong[row] == bool((views.argmax(1) != label).all())
    assert (answers.ranks > 0).sum() == result.top1_wrong
    assert np.unique(answers.view_said).size > 1, "views that differ"
