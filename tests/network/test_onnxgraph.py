"""Every variant of the network as an ONNX model: valid, the oldest form, the same outputs in onnxruntime."""

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from alexnet_network.classifier import Classifier
from alexnet_network.input import DeviceStats
from alexnet_network.model import AlexNet
from alexnet_network.onnxgraph import IR_VERSION, OPSET, onnx_model
from alexnet_train.recipe import load_recipe, recipe_names


def session(content: bytes) -> Any:
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


def network(recipe: str, **changes: Any) -> tuple[AlexNet, Any]:
    """A narrow network of that recipe whose outputs keep their size from layer to layer, and its input."""
    found = load_recipe(recipe, ["width=0.125", "num_classes=10"])
    model = AlexNet(replace(found.model, **changes), torch.Generator().manual_seed(0)).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, (1.5 / parameter[0].numel()) ** 0.5, generator=generator)
    return model, found.input


VARIANTS: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in recipe_names()] + [
    ("demo", {"dropout_scaled_in": "test", "dropout_at": "inputs", "dropout": 0.3}),
    ("released", {"lrn_per_tower": True, "towers": 2, "lrn_alpha_over_size": False, "lrn_k": 2.0}),
    ("no-lrn", {"conv1_padding_px": (0, 0), "pool_ceil": True}),
]


@pytest.mark.parametrize(("recipe", "changes"), VARIANTS)
def test_every_variant_gives_our_logits(recipe: str, changes: dict[str, Any]) -> None:
    model, config = network(recipe, **changes)
    content = onnx_model(model, {"b": "2", "a": "1"}, config)
    assert content == onnx_model(model, {"a": "1", "b": "2"}, config)
    found = onnx.load_from_string(content)
    assert found.ir_version == IR_VERSION == 3
    assert [(opset.domain, opset.version) for opset in found.opset_import] == [("", OPSET)] == [("", 7)]
    assert {prop.key: prop.value for prop in found.metadata_props} == {"a": "1", "b": "2"}
    x = 60 * torch.randn(3, 3, 224, 224, generator=torch.Generator().manual_seed(3))
    opened = session(content)
    for count in (1, 3):
        (logits,) = opened.run(["logits"], {"image": x[:count].numpy()})
        with torch.no_grad():
            wanted = model(x[:count]).numpy()
        np.testing.assert_allclose(logits, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())
    assert wanted.std() > 1e-3


@pytest.mark.parametrize("mean", ["image", "channel", "none"])
@pytest.mark.parametrize(("side_px", "crop_px"), [(256, 224), (224, 224), (256, 227), (227, 227)])
def test_the_whole_input_is_in_the_graph(mean: Any, side_px: int, crop_px: int) -> None:
    if mean == "image" and crop_px != 224:
        mean = "channel"
    model, config = network("demo")
    config = replace(config, mean=mean, view_crop_px=crop_px, view_divide_by=57.4)
    generator = torch.Generator().manual_seed(4)
    stats = DeviceStats(
        mean_nchw=255 * torch.rand(1, 3, 224, 224, generator=generator),
        channel_mean_nchw=255 * torch.rand(1, 3, 1, 1, generator=generator),
        axes_released=torch.eye(3),
        axes_paper=torch.eye(3),
    )
    images = torch.randint(0, 256, (2, 256, 256, 3), dtype=torch.uint8, generator=generator)
    first_px = (256 - side_px) // 2
    given = images[:, first_px : first_px + side_px, first_px : first_px + side_px].contiguous().numpy()
    (found,) = session(onnx_model(model, {}, config, stats, side_px)).run(["probabilities"], {"image": given})
    wanted = Classifier(model=model, stats=stats, input=config, classes=()).probabilities(images, 1).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
