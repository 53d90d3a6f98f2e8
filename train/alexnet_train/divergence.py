"""A loss that is no number, or runs away: which step and samples, and the batch kept for inspection."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from alexnet_shards.errors import AlexnetError
from alexnet_shards.files import atomic_file
from alexnet_stream import Batch


@dataclass(frozen=True, kw_only=True)
class LossLimit:
    """The highest mean loss of a batch that is no divergence, and where a batch above it is kept."""

    mean_loss: float
    directory: Path


def check_losses(losses: Tensor, batch: Batch, step: int, limit: LossLimit) -> None:
    """Raise AlexnetError where a loss of the batch is not finite or their mean is above the limit, after saving the batch.

    The file is a dict of the batch's tensors and the losses, for torch.load(weights_only=True); rows are index rows.
    """
    finite = torch.isfinite(losses)
    mean = float(losses.mean())
    if mean <= limit.mean_loss and bool(finite.all()):
        return
    path = limit.directory / f"bad-batch-{step:08d}.pt"
    limit.directory.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        torch.save({**vars(batch), "losses": losses.detach()}, file)
    bad = ~finite if not bool(finite.all()) else losses > limit.mean_loss
    rows = batch.rows[bad].tolist()
    shown = ", ".join(map(str, rows[:5])) + (", …" if len(rows) > 5 else "")
    what = f"not finite at step {step}" if not bool(finite.all()) else f"{mean:.3g} at step {step}, a runaway,"
    raise AlexnetError(
        f"the loss is {what} for {len(rows)} of {len(losses)} samples (index rows {shown}): training "
        f"has diverged; the batch is in {path}; lower learning_rate, or begin with smaller init_std"
    )
