"""A loss that is no number: which step and samples, and the batch kept for inspection."""

from pathlib import Path

import torch
from torch import Tensor

from alexnet_shards.errors import AlexnetError
from alexnet_shards.files import atomic_file
from alexnet_train.batch import Batch


def check_finite(losses: Tensor, batch: Batch, step: int, directory: Path) -> None:
    """Raise AlexnetError where a loss of the batch is not finite, after saving the batch to `directory`.

    The file is a dict of the batch's tensors and the losses, for torch.load(weights_only=True); rows are index rows.
    """
    finite = torch.isfinite(losses)
    if bool(finite.all()):
        return
    path = directory / f"bad-batch-{step:08d}.pt"
    with atomic_file(path) as file:
        torch.save({**vars(batch), "losses": losses.detach()}, file)
    rows = batch.rows[~finite].tolist()
    shown = ", ".join(map(str, rows[:5])) + (", …" if len(rows) > 5 else "")
    raise AlexnetError(
        f"the loss is not finite at step {step} for {len(rows)} of {len(losses)} samples (index rows {shown}): training "
        f"has diverged; the batch is in {path}; lower learning_rate, or begin with smaller init_std"
    )
