"""metrics.jsonl, sums over steps that survive a checkpoint, and how a ranked list is right or wrong."""

import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from alexnet_shards.errors import FormatError
from alexnet_shards.files import append_bytes, write_atomic
from alexnet_shards.manifest import ClassFact
from alexnet_shards.parsing import Where, parse_json
from alexnet_train.distributed import World

WAIT_OF_NOTE = 0.1


def label_ranks(scores: Tensor, labels: Tensor) -> Tensor:
    """(N,) int64 place of each label in its row of `scores` (N, classes), 0 the best.

    Equal scores count against the label and so does NaN: a network that says nothing is never right.
    """
    of_label = scores.gather(1, labels[:, None])
    return (~(scores < of_label)).sum(1) - 1


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


@dataclass(frozen=True, kw_only=True)
class EvalResult:
    """Exact counts of one evaluation; errors are fractions of `images`, beside which `quarantined` ones were bad.

    `confusion` (classes, classes) int64 counts images by their label (row) and the best-scored class (column).
    """

    images: int
    views: int
    top1_wrong: int
    top5_wrong: int
    quarantined: int
    confusion: npt.NDArray[np.int64]

    @property
    def top1_error(self) -> float:
        """Fraction of images whose label is not the best-scored class."""
        return self.top1_wrong / self.images

    @property
    def top5_error(self) -> float:
        """Fraction of images whose label is not among the five best-scored classes."""
        return self.top5_wrong / self.images

    def as_dict(self) -> dict[str, Any]:
        """Counts and errors for JSON."""
        counts = {name: value for name, value in vars(self).items() if name != "confusion"}
        return counts | {"top1_error": self.top1_error, "top5_error": self.top5_error}


def worst_classes(result: EvalResult, classes: Sequence[ClassFact], count: int) -> list[dict[str, Any]]:
    """The `count` classes with the highest top-1 error among those that have images, and what they are taken for."""
    images = result.confusion.sum(1)
    wrong = images - result.confusion.diagonal()
    errors = np.where(images > 0, wrong / np.maximum(images, 1), -1.0)
    worst = []
    for label in np.argsort(-errors, kind="stable")[:count]:
        mistaken = result.confusion[label].copy()
        mistaken[label] = 0
        other = int(mistaken.argmax())
        if images[label] and mistaken[other]:
            fact, taken = _class_of(classes, label), _class_of(classes, other)
            worst.append(
                {
                    "wnid": fact.wnid,
                    "words": fact.words,
                    "images": int(images[label]),
                    "top1_error": float(errors[label]),
                    "taken_for": {"wnid": taken.wnid, "words": taken.words, "images": int(mistaken[other])},
                }
            )
    return worst


def _class_of(classes: Sequence[ClassFact], label: int) -> ClassFact:
    """A class of the list, or by its number where the network has more outputs than the list has classes."""
    return classes[label] if label < len(classes) else ClassFact(wnid=str(label))


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
            append_bytes(self._path, json.dumps({"kind": kind, "step": step, **record}).encode() + b"\n")

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
