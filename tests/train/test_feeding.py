"""What exports say of their input is JSON of plain numbers; test_export feeds networks by it."""

import base64
import json

import numpy as np
import pytest
import torch

from alexnet_network.classifier import Classifier
from alexnet_network.input import DeviceStats, InputConfig
from alexnet_pixels.recipe import PixelRecipe
from alexnet_train.feeding import input_facts, metadata


@pytest.fixture
def stats() -> DeviceStats:
    mean = torch.arange(3 * 224 * 224, dtype=torch.float32).reshape(1, 3, 224, 224) / 600
    axes = torch.eye(3)
    channels = torch.tensor([1.5, 2.5, 3.5]).reshape(1, 3, 1, 1)
    return DeviceStats(mean_nchw=mean, channel_mean_nchw=channels, axes_released=axes, axes_paper=axes)


@pytest.mark.parametrize("mean", ["image", "channel", "none"])
def test_means(stats: DeviceStats, mean: str) -> None:
    config = InputConfig(mean=mean, view_divide_by=4.0)  # type: ignore[arg-type]
    classifier = Classifier(model=torch.nn.Identity(), stats=stats, input=config, classes=())
    facts = input_facts(classifier, PixelRecipe(filter="bicubic"))
    texts = metadata(classifier, {"recipe": {}, "classes": ["n1"], "words": ["\u00e9"]}, facts)
    assert json.loads(texts["input"]) == facts
    assert (facts["scale"], facts["crop_px"], facts["image"]["filter"]) == (0.25, 224, "bicubic")
    assert facts["mean"] == {"image": "mean_image", "channel": [1.5, 2.5, 3.5], "none": [0, 0, 0]}[mean]
    assert ("mean_image" in texts) == (mean == "image")
    if mean == "image":
        found = json.loads(texts["mean_image"])
        values = np.frombuffer(base64.b64decode(found["base64"]), found["dtype"]).reshape(found["shape"])
        assert np.array_equal(values, stats.mean_nchw[0].numpy())
