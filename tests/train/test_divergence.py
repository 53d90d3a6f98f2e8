"""A loss that is no number is told with its samples, and its batch is kept."""

from pathlib import Path

import pytest
import torch

from alexnet_shards.errors import AlexnetError
from alexnet_stream.batch import Batch
from alexnet_train.distributed import World
from alexnet_train.divergence import LossLimit, check_losses

ALONE = World(device=torch.device("cpu"))


def batch() -> Batch:
    return Batch(
        images_nhwc=torch.full((3, 4, 4, 3), 7, dtype=torch.uint8),
        labels=torch.tensor([0, 1, 2]),
        rows=torch.tensor([10, 20, 30]),
        flip=torch.zeros(3, dtype=torch.bool),
        noise_z=torch.zeros(3, 3),
        valid=torch.ones(3, dtype=torch.bool),
    )


def test_finite_losses_pass(tmp_path: Path) -> None:
    check_losses(torch.tensor([1.0, 2.0, 3.0]), batch(), 5, LossLimit(mean_loss=2.5, directory=tmp_path), ALONE)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_loss_names_its_samples_and_keeps_the_batch(bad: float, tmp_path: Path) -> None:
    with pytest.raises(AlexnetError, match=r"step 5 for 2 of 3 samples \(index rows 20, 30\)") as caught:
        check_losses(torch.tensor([1.0, bad, bad]), batch(), 5, LossLimit(mean_loss=2.5, directory=tmp_path), ALONE)
    assert "\n" not in str(caught.value)
    (path,) = tmp_path.iterdir()
    assert str(path) in str(caught.value)
    kept = torch.load(path, weights_only=True)
    assert kept["rows"].tolist() == [10, 20, 30]
    assert torch.equal(kept["images_nhwc"], batch().images_nhwc)
    assert kept["losses"].isfinite().tolist() == [True, False, False]


def test_a_runaway_loss_is_told_too(tmp_path: Path) -> None:
    with pytest.raises(AlexnetError, match=r"loss is 5 at step 9, .* for 1 of 3 samples \(index rows 30\)"):
        check_losses(
            torch.tensor([1.0, 2.0, 12.0]), batch(), 9, LossLimit(mean_loss=4.9, directory=tmp_path / "run"), ALONE
        )
    assert torch.load(tmp_path / "run" / "bad-batch-00000009.pt", weights_only=True)["rows"].tolist() == [10, 20, 30]
