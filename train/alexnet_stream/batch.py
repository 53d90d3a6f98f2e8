"""What the stream yields: batches, and meters of what they cost."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

NO_ROW = -1
PADDING_LABEL = -1


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """One rank's part of a batch, B samples.

    `images_nhwc` uint8 RGB 0..255: (B, 224, 224, 3) cropped but not flipped, or (B, 256, 256, 3) whole; in host memory
    it is a buffer of the stream's ring and stays valid until the next-but-one batch is asked for. `labels` and `rows`
    int64 (B,), `flip` bool (B,), `noise_z` float32 (B, 3), `valid` bool (B,): False for padding, whose label and row
    are -1, and for a whole image that is in quarantine.
    """

    images_nhwc: Tensor
    labels: Tensor
    rows: Tensor
    flip: Tensor
    noise_z: Tensor
    valid: Tensor

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        """The batch on `device`; where it is there already it is the same memory."""
        return Batch(**{name: tensor.to(device, non_blocking=non_blocking) for name, tensor in vars(self).items()})

    def page_locked(self) -> "Batch":
        """The batch with all but its images copied to page-locked memory: a copy from other memory waits for the device."""
        rest = {name: tensor.pin_memory() for name, tensor in vars(self).items() if name != "images_nhwc"}
        return replace(self, **rest)


@dataclass(kw_only=True)
class Meters:
    """Counts and seconds since the stream was made; the seconds of read and decode are summed over threads."""

    images: float = 0
    batches: float = 0
    wait_seconds: float = 0
    read_seconds: float = 0
    decode_seconds: float = 0
    copy_seconds: float = 0
    quarantined: float = 0


def pad(batch: Batch, slot_nhwc: Tensor) -> Batch:
    """`batch`, the first images of the buffer `slot_nhwc`, filled up to its size by black images with `valid` False."""
    size, missing = len(batch.rows), len(slot_nhwc) - len(batch.rows)
    if missing == 0:
        return batch
    slot_nhwc[size:] = 0
    fill = {"labels": PADDING_LABEL, "rows": NO_ROW, "flip": False, "noise_z": 0.0, "valid": False}
    padded = {}
    for name, value in fill.items():
        tensor: Tensor = getattr(batch, name)
        padded[name] = torch.cat([tensor, tensor.new_full((missing, *tensor.shape[1:]), value)])
    return replace(batch, images_nhwc=slot_nhwc, **padded)
