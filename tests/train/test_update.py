"""Updates: parts of a batch add up, number types and switches do what they say, the compiled network is the same."""

import functools
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from alexnet_network.input import DeviceStats
from alexnet_network.optim import rates_at, set_rates
from alexnet_shards.errors import AlexnetError
from alexnet_shards.stats import Stats
from alexnet_stream.batch import Batch
from alexnet_train.distributed import World
from alexnet_train.recipe import load_recipe
from alexnet_train.update import Updater, micro_batches, seed_dropout

WORLD = World(device=torch.device("cpu"))


def updater(*settings: str) -> Updater:
    recipe = load_recipe("demo", ("width=0.125", "num_classes=7", "batch_size=6", "dropout=0.0", *settings))
    stats = Stats(
        mean_image_hwc=np.full((256, 256, 3), 120, np.float32),
        rgb_mean=np.full(3, 120.0),
        covariance=np.eye(3) * 5000,
        eigenvalues=np.array([14800.0, 1380.0, 390.0]),
        eigenvectors=np.eye(3),
        images=1,
        fingerprint="",
    )
    one = Updater(recipe, DeviceStats.from_stats(stats), WORLD)
    set_rates(one.optimizer, rates_at(recipe.optim, [name for name, _ in one.model.named_parameters()], 0))
    return one


def batch(seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return Batch(
        images_nhwc=torch.randint(0, 256, (6, 224, 224, 3), dtype=torch.uint8, generator=generator),
        labels=torch.tensor([0, 1, 2, 3, 4, 5]),
        rows=torch.arange(6),
        flip=torch.tensor([True, False] * 3),
        noise_z=torch.randn(6, 3, generator=generator),
        valid=torch.ones(6, dtype=torch.bool),
    )


def run(one: Updater, steps: int = 3) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
    losses = []
    for step in range(steps):
        loss, ranks = one.losses(batch(step), step, one.recipe.input)
        assert loss.shape == ranks.shape == (6,)
        losses.append(loss)
        one.apply()
    return losses, one.model.state_dict()


@pytest.mark.parametrize(
    "words", [("cuda_graphs=true",), ("cuda_graphs=true", "compile=true", "micro_batch_size=4")], ids=",".join
)
def test_a_graph_is_of_a_compiled_step_in_one_part(words: tuple[str, ...]) -> None:
    with pytest.raises(AlexnetError, match=r"train.cuda_graphs with compile = .*; expected true and 0"):
        load_recipe("released", words)


def test_where_torch_cannot_compile_one_line_says_so(make_run: Callable[..., str], tmp_path: Path) -> None:
    """A machine without a C++ compiler: torch's own error is of many lines."""
    settings = ("--set", "width=0.0625", "--set", "batch_size=4", "--set", "compile=true")
    words = ["--shards", make_run(tmp_path / "shards"), "--recipe", "demo", *settings, "--device", "cpu", "--dry-run"]
    without = {"PATH": str(tmp_path), "CXX": str(tmp_path / "g++"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", "alexnet_train.cli", "train", *words],
        env=os.environ | without,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert re.fullmatch(
        r"error: train\.compile: torch cannot compile here \(.*C\+\+ compiler.*\); install .*compile=false",
        done.stderr.splitlines()[-1],
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("size", [1, 2, 4, 6, 100])
def test_gradients_of_parts_add_up(size: int) -> None:
    (losses, weights), (expected, expected_weights) = run(updater(f"micro_batch_size={size}")), run(updater())
    for loss, other in zip(losses, expected, strict=True):
        torch.testing.assert_close(loss, other, rtol=1e-4, atol=1e-5)
    for name, tensor in expected_weights.items():
        torch.testing.assert_close(weights[name], tensor, rtol=1e-3, atol=2e-5, msg=name)


def test_parts_of_a_batch_are_all_of_it() -> None:
    parts = list(micro_batches(batch(), 4))
    assert [(len(part.labels), is_last) for part, is_last in parts] == [(4, False), (2, True)]
    assert torch.equal(torch.cat([part.images_nhwc for part, _ in parts]), batch().images_nhwc)
    assert torch.equal(torch.cat([part.noise_z for part, _ in parts]), batch().noise_z)


@pytest.mark.parametrize(("precision", "tolerance"), [("bfloat16", 0.03), ("float16", 0.005)])
def test_half_precision_is_near_and_keeps_float32_weights(precision: str, tolerance: float) -> None:
    (losses, weights), (expected, _) = run(updater(f"precision={precision}")), run(updater())
    for loss, other in zip(losses, expected, strict=True):
        torch.testing.assert_close(loss, other, rtol=tolerance, atol=tolerance)
        assert not torch.equal(loss, other)
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}


def test_float16_scales_the_loss_and_leaves_out_updates_that_overflow() -> None:
    one = updater("precision=float16")
    before = {name: tensor.clone() for name, tensor in one.model.state_dict().items()}
    scale = one.scaler.get_scale()
    assert scale > 1
    one.losses(batch(), 0, one.recipe.input)
    next(iter(one.model.parameters())).grad.fill_(float("inf"))
    one.apply()
    assert all(torch.equal(before[name], tensor) for name, tensor in one.model.state_dict().items())
    assert one.scaler.get_scale() == scale / 2
    other = updater("precision=float16")
    other.load_state_dict({**one.state_dict(), "step": 1})
    assert other.scaler.get_scale() == scale / 2
    assert updater().state_dict()["scaler"] == {}


def test_clipped_gradients_have_the_norm_of_the_recipe() -> None:
    one, other = updater("clip_norm=0.01"), updater()
    for each in (one, other):
        each.losses(batch(), 0, each.recipe.input)
        each.apply()
    clipped, whole = (
        torch.nn.utils.get_total_norm([p.grad for p in each.model.parameters() if p.grad is not None])
        for each in (one, other)
    )
    assert clipped.item() == pytest.approx(0.01, rel=1e-3)
    assert whole > 0.1


def test_float16_clips_the_gradients_and_not_their_scaled_values() -> None:
    one, other = updater("precision=float16", "clip_norm=1e6"), updater("precision=float16")
    for each in (one, other):
        each.losses(batch(), 0, each.recipe.input)
        each.apply()
    for name, tensor in other.model.state_dict().items():
        torch.testing.assert_close(one.model.state_dict()[name], tensor, rtol=1e-5, atol=1e-7, msg=name)


def test_the_network_compiles_as_one_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced forward and backward, without the minutes that the last stage takes to compile code."""
    traced = functools.partial(torch.compile, backend="aot_eager", fullgraph=True)
    monkeypatch.setattr("alexnet_train.update.torch.compile", traced)
    (losses, weights), (expected, expected_weights) = run(updater("compile=true"), 2), run(updater(), 2)
    for loss, other in zip(losses, expected, strict=True):
        torch.testing.assert_close(loss, other, rtol=1e-4, atol=1e-5)
    for name, tensor in expected_weights.items():
        torch.testing.assert_close(weights[name], tensor, rtol=1e-3, atol=1e-6, msg=name)


def test_the_same_curve_without_the_compiled_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses before and after the fast norms and update, at a rate that does not let rounding grow."""
    settings = ("width=0.25", "learning_rate=0.001")
    losses, _ = run(updater(*settings), 12)
    monkeypatch.setattr("alexnet_network.lrn.load_kernels", lambda: None)
    monkeypatch.setattr("alexnet_network.rules.load_kernels", lambda: None)
    plain, _ = run(updater(*settings), 12)
    torch.testing.assert_close(torch.stack(losses), torch.stack(plain), rtol=1e-5, atol=1e-5)
    assert not torch.equal(torch.stack(losses), torch.stack(plain)), "the kernels were not used"


def test_the_average_starts_at_the_first_update() -> None:
    one = updater("average_decay=0.5")
    run(one, 1)
    assert torch.equal(one.evaluated.get_parameter("fc8.weight"), one.model.fc8.weight)
    assert one.evaluated is not one.model
    plain = updater()
    assert plain.evaluated is plain.model


def test_dropout_masks_are_a_function_of_seed_and_step() -> None:
    draws = []
    for place in ((0, 1), (0, 2), (1, 1), (0, 1)):
        seed_dropout(*place)
        draws.append(torch.rand(1000))
    assert torch.equal(draws[0], draws[3])
    assert not any(torch.equal(draws[0], other) for other in draws[1:3])


def test_masks_of_one_process_are_those_of_earlier_versions() -> None:
    """They drew from a seed of (seed, step, rank), so that a run of one process goes on as it began."""
    seed_dropout(3, 5)
    found = torch.rand(100)
    torch.manual_seed(int(np.random.SeedSequence([3, 5, 0]).generate_state(1, np.uint64)[0]))
    assert torch.equal(found, torch.rand(100))


@pytest.mark.parametrize("dropout_at", ["inputs", "outputs"])
@pytest.mark.parametrize("size", [1, 4])
def test_parts_of_a_batch_have_the_masks_of_the_whole(size: int, dropout_at: str) -> None:
    settings = ("dropout=0.5", f"dropout_at={dropout_at}")
    whole, _ = updater(*settings).losses(batch(), 7, updater().recipe.input)
    parts, _ = updater(*settings, f"micro_batch_size={size}").losses(batch(), 7, updater().recipe.input)
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-5)
    other, _ = updater(*settings).losses(batch(), 8, updater().recipe.input)
    assert (other - whole).abs().max() > 1e-3, "the masks make no difference, so that equal ones prove nothing"
