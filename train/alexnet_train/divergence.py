"""A loss that is no number, or runs away: which step and samples, and the batch kept for inspection."""

from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor

from alexnet_shards.errors import AlexnetError
from alexnet_shards.files import atomic_file
from alexnet_stream import Batch
from alexnet_train.distributed import World

WAY_OUT = (
    "begin anew with a lower learning_rate or smaller init_std: --set learning_rate=…, with --fresh or another --out"
)
# The square of a larger weight is no float32 number, and neither are the sums that it would come into.
LARGEST_WEIGHT = 1e18


class DivergedError(AlexnetError):
    """Training has diverged: started again as it was, it would do so again."""


@dataclass(frozen=True, kw_only=True)
class LossLimit:
    """The highest mean loss of a batch that is no divergence, and where a batch above it is kept (None: nowhere)."""

    mean_loss: float
    directory: Path | None


def looks_every_steps(device: torch.device, log_every_steps: int) -> int:
    """How many steps lie between two looks at the losses: on the CPU a look costs nothing, elsewhere a wait."""
    return 1 if device.type == "cpu" else log_every_steps


def check_losses(losses: Tensor, batch: Batch, step: int, limit: LossLimit, world: World) -> None:
    """Raise DivergedError where a loss of the whole batch is not finite, or their mean is above the limit.

    `losses` and `batch` are this process's part; all processes look together, the first saves the whole batch and says
    so, the others leave in silence. The file is a dict of the batch's tensors and the losses, for
    torch.load(weights_only=True); rows are index rows.
    """
    finite = torch.isfinite(losses)
    sums = torch.stack([part.double().sum() for part in (losses.detach(), ~finite, torch.ones_like(finite))])
    total, not_finite, count = world.sum(sums).tolist()
    if not not_finite and total / max(count, 1) <= limit.mean_loss:
        return
    parts = world.gathered({**vars(batch), "losses": losses.detach()})
    if parts is None:
        raise SystemExit(1)
    _tell({name: torch.cat([part[name].cpu() for part in parts]) for name in parts[0]}, step, limit)


def _tell(whole: dict[str, Tensor], step: int, limit: LossLimit) -> NoReturn:
    losses = whole["losses"]
    finite = torch.isfinite(losses)
    kept = ""
    if limit.directory is not None:
        path = limit.directory / f"bad-batch-{step:08d}.pt"
        limit.directory.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as file:
            torch.save(whole, file)
        kept = f"; the batch is in {path}"
    bad = ~finite if not bool(finite.all()) else losses > limit.mean_loss
    rows = whole["rows"][bad].tolist()
    shown = ", ".join(map(str, rows[:5])) + (", …" if len(rows) > 5 else "")
    mean = float(losses.mean())
    what = f"not finite at step {step}" if not bool(finite.all()) else f"{mean:.3g} at step {step}, a runaway,"
    raise DivergedError(
        f"the loss is {what} for {len(rows)} of {len(losses)} samples (index rows {shown}): training "
        f"has diverged{kept}; {WAY_OUT}"
    )


def has_diverged(tensors: list[Tensor]) -> Tensor:
    """() bool, on the tensors' device and without waiting for it: whether a weight is no number or of no use."""
    largest = torch.stack([torch.linalg.vector_norm(t, float("inf")).float() for t in tensors if t.numel()])
    return ~(largest <= LARGEST_WEIGHT).all()
