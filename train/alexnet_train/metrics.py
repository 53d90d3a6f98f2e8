"""metrics.jsonl, and sums over steps that survive a checkpoint."""

import json
import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from alexnet_shards.errors import FormatError
from alexnet_shards.files import append_bytes, write_atomic
from alexnet_shards.parsing import Where, parse_json
from alexnet_train.distributed import World

WAIT_OF_NOTE = 0.1


class Tally:
    """Loss and errors summed over training images; sums stay on the device until they are asked for.

    Asking is for all processes of the world at once: each has seen its own images.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._sums = torch.zeros(3, dtype=torch.float64, device=world.device)

    def add(self, losses: Tensor, ranks: Tensor) -> None:
        """Count images by their losses (N,) and label ranks (N,)."""
        images = torch.full_like(self._sums[0], len(losses))
        self._sums += torch.stack([losses.detach().double().sum(), (ranks > 0).sum().double(), images])

    def reset(self) -> None:
        """Begin anew."""
        self._sums.zero_()

    def means(self) -> dict[str, float]:
        """{"train_loss", "train_top1_error"} of the images since the last reset; NaN where there were none."""
        loss, wrong, images = self._world.sum(self._sums).tolist()
        return (
            {"train_loss": loss / images, "train_top1_error": wrong / images}
            if images
            else dict.fromkeys(("train_loss", "train_top1_error"), float("nan"))
        )

    def state(self) -> list[float]:
        """What a checkpoint holds of it."""
        sums: list[float] = self._world.sum(self._sums).tolist()
        return sums

    def load_state(self, state: list[float]) -> None:
        """Go on from `state`, which the first process takes over for all."""
        self._sums.copy_(torch.tensor(state if self._world.is_main else [0.0] * 3, dtype=torch.float64))


def finite(value: Any) -> Any:
    """`value`, a record or part of one, with None in place of numbers that are none: JSON has no word for them."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


class MetricsLog:
    """metrics.jsonl: a JSON object a line, each with "kind" and "step". A log alone: no run depends on what is in it."""

    def __init__(self, path: Path, *, enabled: bool = True) -> None:
        """A log at `path`; not `enabled`, it writes nothing: only one process of a run writes."""
        self._path, self._enabled = path, enabled

    def go_on(self, step: int, epochs: Iterable[Mapping[str, Any]] = (), *, pending: bool = False) -> None:
        """Make it the log of a run at `step`: what comes after is dropped, for it will be done and written again.

        So is the epoch's record of `step` itself while that is `pending`. The records of `epochs` that are missing are
        added in their places; lines that are no records stay where they are.
        """
        if not self._enabled:
            return

        def stays(line: str) -> bool:
            record = _record(line)
            again = record is not None and pending and record["step"] == step and record["kind"] == "epoch"
            return record is None or (record["step"] <= step and not again)

        lines = _lines(self._path)
        kept = [line for line in lines if stays(line)]
        found = [record for line in kept if (record := _record(line)) is not None]
        known = {record["step"] for record in found if record["kind"] == "epoch"}
        for epoch in epochs:
            if epoch["step"] not in known:
                kept.insert(_place(kept, epoch["step"]), json.dumps(epoch))
        if kept != lines or not self._path.exists() or not _ends_whole(self._path):
            write_atomic(self._path, "".join(line + "\n" for line in kept).encode("utf-8", "surrogateescape"))

    def write(self, kind: str, step: int, record: Mapping[str, Any]) -> None:
        """Append one line; it is with the operating system when this returns."""
        if self._enabled:
            whole = finite({"kind": kind, "step": step, **record})
            append_bytes(self._path, json.dumps(whole, allow_nan=False).encode() + b"\n")

    def read(self) -> list[dict[str, Any]]:
        """The records so far."""
        return read_metrics(self._path)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of metrics.jsonl; lines that are none, as a killed run or a bad disk leaves them, are passed over."""
    return [record for line in _lines(path) if (record := _record(line)) is not None]


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return []
    return text.removesuffix("\n").split("\n") if text else []


def _ends_whole(path: Path) -> bool:
    content = path.read_bytes()
    return not content or content.endswith(b"\n")


LOG = Where(path=Path("metrics.jsonl"), what="line of the log", remedy="it is skipped")


def _record(line: str) -> dict[str, Any] | None:
    try:
        record = parse_json(line.encode("utf-8", "surrogateescape"), LOG)
    except FormatError:
        return None
    whole = isinstance(record, dict) and isinstance(record.get("kind"), str) and type(record.get("step")) is int
    return record if whole else None


def _place(lines: Sequence[str], step: int) -> int:
    """Where an epoch's record of `step` belongs: before the first record of a later step."""
    records = (_record(line) for line in lines)
    return next((place for place, record in enumerate(records) if record and record["step"] > step), len(lines))


def memory_bytes(device: torch.device) -> int:
    """Memory in use now: of this process, or the most that tensors have taken on a GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


def meters_since(meters: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    """What the stream's meters counted after they were `before`."""
    return {name: value - before.get(name, 0.0) for name, value in meters.items()}


def bound_by(data_wait_fraction: float, meters: Mapping[str, float]) -> Literal["compute", "decode", "disk"]:
    """What a run that waited for so much of its time would have to speed up; `meters` are the stream's of that
    time."""
    if data_wait_fraction < WAIT_OF_NOTE:
        return "compute"
    return "disk" if meters["read_seconds"] > meters["decode_seconds"] else "decode"


class Clock:
    """Images and seconds since it was made."""

    def __init__(self) -> None:
        self._started, self._waited, self._images = time.perf_counter(), 0.0, 0

    def add(self, images: int, waited_seconds: float) -> None:
        """Count a step of `images` that waited so long for its data."""
        self._images += images
        self._waited += waited_seconds

    def figures(self) -> dict[str, float]:
        """{"images_per_second", "data_wait_fraction"} so far."""
        seconds = time.perf_counter() - self._started
        return {"images_per_second": self._images / seconds, "data_wait_fraction": self._waited / seconds}
