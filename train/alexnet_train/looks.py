"""How a network looks after an epoch: its first filters, and the size of each layer's weights and last update."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from alexnet_shards.errors import FormatError
from alexnet_shards.files import atomic_file
from alexnet_shards.parsing import Where, load_npz

DIRECTORY_NAME = "looks"
LIMITS = {"filters": 64 << 20, "names": 1 << 16, "weight_norms": 1 << 16, "update_norms": 1 << 16}
GAP_PX, ZOOM = 1, 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Look:
    """`filters` (F, 3, side, side) float16 of conv1; for each of the (P,) parameter `names` the Euclidean norms of its
    weights and of the step that the last update took, float32."""

    filters: npt.NDArray[np.float16]
    names: tuple[str, ...]
    weight_norms: npt.NDArray[np.float32]
    update_norms: npt.NDArray[np.float32]

    @property
    def update_ratios(self) -> npt.NDArray[np.float32]:
        """(P,) how large the last update was beside the weights that it changed; 0 where there were none."""
        ratios: npt.NDArray[np.float32] = np.divide(
            self.update_norms, self.weight_norms, out=np.zeros_like(self.update_norms), where=self.weight_norms > 0
        )
        return ratios


@torch.no_grad()
def look_at_weights(weights: Mapping[str, Tensor], steps: Mapping[str, Tensor]) -> Look:
    """The look of a network whose parameters are `weights` by name; `steps` are what the last update added."""
    names = tuple(weights)
    weight_norms = torch.stack([weights[name].detach().float().norm() for name in names])
    zero = torch.zeros((), device=weight_norms.device)
    update_norms = torch.stack([steps[name].float().norm() if name in steps else zero for name in names])
    return Look(
        filters=weights["conv1.weight"].detach().to(device="cpu", dtype=torch.float16).contiguous().numpy(),
        names=names,
        weight_norms=weight_norms.cpu().numpy().astype(np.float32),
        update_norms=update_norms.cpu().numpy().astype(np.float32),
    )


def save_look(out_dir: Path, epoch: int, look: Look) -> None:
    """Keep the look of a run's network after `epoch` epochs in its directory, whole or not at all."""
    path = _path(out_dir, epoch)
    path.parent.mkdir(exist_ok=True)
    with atomic_file(path) as file:
        np.savez(
            file,
            filters=look.filters,
            names=np.array("\n".join(look.names)),
            weight_norms=look.weight_norms,
            update_norms=look.update_norms,
        )


def load_looks(out_dir: Path) -> Iterator[tuple[int, Look]]:
    """(epoch, look) of every look that is kept in a run's directory and can be read, by epoch."""
    for path in sorted((out_dir / DIRECTORY_NAME).glob("epoch-*.npz")):
        number = path.stem.removeprefix("epoch-")
        if not number.isdecimal():
            continue
        try:
            arrays = load_npz(Where(path=path, what="look", remedy="it may be removed"), LIMITS)
            yield int(number), _look(arrays)
        except (FormatError, FileNotFoundError, ValueError):
            continue  # a page without it is better than none


def _look(arrays: dict[str, npt.NDArray[Any]]) -> Look:
    names = tuple(str(arrays["names"]).split("\n"))
    shapes = {arrays["weight_norms"].shape, arrays["update_norms"].shape}
    if arrays["filters"].ndim != 4 or arrays["filters"].shape[1] != 3 or shapes != {(len(names),)}:
        raise ValueError("shapes that do not fit each other")
    return Look(names=names, **{name: arrays[name] for name in ("filters", "weight_norms", "update_norms")})


def filter_sheet(filters: npt.NDArray[np.float16], towers: int) -> npt.NDArray[np.uint8]:
    """The filters side by side as in the paper's figure 3: (H, W, 3) uint8, a block of rows a tower.

    All are scaled alike, grey is zero: a filter that has learned nothing stays grey.
    """
    count, _, side, _ = filters.shape
    values = np.nan_to_num(filters.astype(np.float32))
    largest = float(np.abs(values).max()) or 1.0
    pixels = ((values / largest + 1) * 127.5).round().clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
    step = side + GAP_PX
    per_tower = -(-count // towers)
    columns = min(16, per_tower)
    rows_a_tower = -(-per_tower // columns)
    sheet = np.full((towers * (rows_a_tower * step + 2 * GAP_PX), columns * step + GAP_PX, 3), 90, np.uint8)
    for number, pixel in enumerate(pixels):
        tower, place = divmod(number, per_tower)
        top = tower * (rows_a_tower * step + 2 * GAP_PX) + place // columns * step + GAP_PX
        left = place % columns * step + GAP_PX
        sheet[top : top + side, left : left + side] = pixel
    return sheet.repeat(ZOOM, 0).repeat(ZOOM, 1)


def _path(out_dir: Path, epoch: int) -> Path:
    return out_dir / DIRECTORY_NAME / f"epoch-{epoch:04d}.npz"
