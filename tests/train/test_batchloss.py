"""From bytes to losses as one module: the same as its parts one after the other, and the same compiled."""

import shutil
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from alexnet_network import AlexNet, DeviceStats, train_input
from alexnet_shards.stats import Stats
from alexnet_stream.batch import Batch
from alexnet_train.batchloss import BatchLoss
from alexnet_train.distributed import World
from alexnet_train.recipe import load_recipe
from alexnet_train.results import label_ranks
from alexnet_train.update import Updater

STATS = Stats(
    mean_image_hwc=np.random.default_rng(0).uniform(90, 140, (256, 256, 3)).astype(np.float32),
    rgb_mean=np.full(3, 120.0),
    covariance=np.eye(3) * 5000,
    eigenvalues=np.array([14800.0, 1380.0, 390.0]),
    eigenvectors=np.eye(3),
    images=1,
    fingerprint="",
)
SETTINGS = ("width=0.0625", "num_classes=7", "batch_size=4", "dropout=0.0")


def batch(seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return Batch(
        images_nhwc=torch.randint(0, 256, (4, 224, 224, 3), dtype=torch.uint8, generator=generator),
        labels=torch.tensor([0, 6, 2, 3]),
        rows=torch.arange(4),
        flip=torch.tensor([True, False, False, True]),
        noise_z=torch.randn(4, 3, generator=generator),
        valid=torch.ones(4, dtype=torch.bool),
    )


def test_it_is_its_parts() -> None:
    recipe, data = load_recipe("released", SETTINGS), batch()
    model = AlexNet(recipe.model, torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    stats = DeviceStats.from_stats(STATS)
    one = BatchLoss(model, stats, recipe.input, 0.1)
    for colour_noise in (True, False):
        one.input = recipe.input.in_phase(colour_noise=colour_noise)
        losses, ranks = one(data.images_nhwc, data.flip, data.noise_z, data.labels)
        logits = model(train_input(data.images_nhwc, data.flip, data.noise_z, stats, one.input))
        assert torch.equal(losses, functional.cross_entropy(logits, data.labels, reduction="none", label_smoothing=0.1))
        assert torch.equal(ranks, label_ranks(logits, data.labels))
        assert losses.requires_grad and not ranks.requires_grad
    assert [name.partition(".")[0] for name, _ in one.named_parameters()] == ["model"] * 16


def trained(*settings: str) -> tuple[list[torch.Tensor], dict[str, torch.Tensor], int]:
    """Losses of four steps, two of them without colour noise; the weights after them; the graphs that were made."""
    recipe = load_recipe("released", (*SETTINGS, "learning_rate=0.001", *settings))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    one = Updater(recipe, DeviceStats.from_stats(STATS), World(device=torch.device("cpu")))
    for group in one.optimizer.param_groups:
        group["rate"] = 0.001
    losses = []
    for step in range(4):
        loss, _ = one.losses(batch(step), step, recipe.input.in_phase(colour_noise=step < 2))
        losses.append(loss)
        one.apply()
    counters: Any = torch._dynamo.utils.counters
    return losses, one.model.state_dict(), counters["stats"]["unique_graphs"]


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler, which torch.compile needs")
@pytest.mark.parametrize("how", [("cuda_graphs=true",), ("precision=bfloat16",)], ids=",".join)
def test_compiled_to_code_it_is_the_same(how: tuple[str, ...]) -> None:
    """Through inductor and the C++ compiler, from bytes to losses and back, in one graph a phase."""
    losses, weights, graphs = trained("compile=true", *how)
    expected, expected_weights, none = trained(*(setting for setting in how if "graphs" not in setting))
    assert (graphs, none) == (2, 0)
    # bfloat16 keeps 8 bits, and compiled code rounds between fewer operations
    relative, absolute = (0.03, 0.03) if "precision=bfloat16" in how else (1e-4, 1e-5)
    for loss, other in zip(losses, expected, strict=True):
        torch.testing.assert_close(loss, other, rtol=relative, atol=absolute)
    for name, tensor in expected_weights.items():
        torch.testing.assert_close(weights[name], tensor, rtol=10 * relative, atol=absolute, msg=name)
