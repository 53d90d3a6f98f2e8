"""How a set of shards is streamed: batches, order, crops, ranks and threads."""

import os
from dataclasses import dataclass
from typing import Literal

from alexnet_shards.errors import AlexnetError
from alexnet_shards.machine import available_cpus

CHOICES = {
    "crop": ("random", "centre", "none"),
    "last": ("drop", "keep", "pad"),
    "order": ("auto", "global", "window"),
}


@dataclass(frozen=True, kw_only=True)
class StreamConfig:
    """How a ShardSet is streamed.

    `batch_size` counts the samples of all ranks. `crop` "random" or "centre" gives 224x224 crops, "none" whole 256x256
    images, no flip, no noise; `flip` False mirrors none, `flip_once` the same ones in every epoch. `last` is what becomes of
    the short batch at the end: kept short (a rank's part may be empty), padded to full size with `valid` False, or dropped,
    whose samples then are others in each epoch. `order` "global" shuffles everything, "window" within windows of
    `window_shards` shards, for disks and networks that do not like random reads; "auto" takes windows for remote shards
    alone. `threads` 0: this process's share of the cores; with `child_process` they run in a process of their own.
    `quarantine`: so many bad samples are replaced (crops) or masked (whole images) before the stream fails.
    """

    batch_size: int
    seed: int
    rank: int = 0
    world_size: int = 1
    shuffle: bool = True
    crop: Literal["random", "centre", "none"] = "random"
    flip: bool = True
    flip_once: bool = False
    last: Literal["drop", "keep", "pad"] = "keep"
    order: Literal["auto", "global", "window"] = "auto"
    window_shards: int = 16
    threads: int = 0
    check_crc: bool = True
    quarantine: int = 0
    pin_memory: bool = False
    child_process: bool = False

    def __post_init__(self) -> None:
        for name in ("batch_size", "world_size", "window_shards"):
            if getattr(self, name) < 1:
                raise AlexnetError(f"{name} {getattr(self, name)}: expected 1 or more")
        for name in ("seed", "threads", "quarantine"):
            if getattr(self, name) < 0:
                raise AlexnetError(f"{name} {getattr(self, name)}: expected 0 or more")
        if self.seed >= 2**64:
            raise AlexnetError(f"seed {self.seed}: expected below 2^64")
        if not 0 <= self.rank < self.world_size:
            raise AlexnetError(f"rank {self.rank}: expected 0 to {self.world_size - 1}, below world_size")
        if self.batch_size < self.world_size:
            raise AlexnetError(f"batch_size {self.batch_size}: expected {self.world_size} or more, one sample a rank")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise AlexnetError(f"{name} {getattr(self, name)!r}: expected one of {', '.join(choices)}")


def default_threads() -> int:
    """This process's share of the cores it may use: torchrun's LOCAL_WORLD_SIZE says how many processes share them."""
    sharing = os.environ.get("LOCAL_WORLD_SIZE", "")
    return max(1, available_cpus() // (int(sharing) if sharing.isdigit() and int(sharing) else 1))
