"""Checkpoints: whole or absent files, checked byte by byte when read, loaded without running any code in them."""

import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alexnet_network import AlexNet, DeviceStats, ModelConfig
from alexnet_shards.errors import FormatError
from alexnet_shards.files import atomic_file
from alexnet_shards.geometry import CROP_PX
from alexnet_shards.parsing import PARSING_ERRORS

FORMAT = "alexnet-checkpoint"
VERSION = 3
READABLE_VERSIONS = (2, 3)
NAME = re.compile(r"step-(\d+)\.pt")
KEYS = frozenset({"recipe", "model", "stats", "classes", "words", "step", "epoch"})
TABLES = ("recipe", "model", "stats")
STATS_KEYS = {field.name for field in fields(DeviceStats)}
STATS_SHAPES = {
    "mean_nchw": (1, 3, CROP_PX, CROP_PX),
    "channel_mean_nchw": (1, 3, 1, 1),
    "axes_released": (3, 3),
    "axes_paper": (3, 3),
}
STATE_KEYS = frozenset({"optimizer", "scaler", "stream", "epoch_tally", "log_tally", "shards"})


class Verdict(Enum):
    """What a look at a checkpoint found."""

    WHOLE = "whole"
    WEIGHTS_ONLY = "weights only, without the state of a run"
    DAMAGED = "damaged"
    OTHER_VERSION = "of another version"
    UNREADABLE = "unreadable"
    FOREIGN = "not a checkpoint of alexnet-train"
    MISSING = "no such checkpoint"


@dataclass(frozen=True, kw_only=True, eq=False)
class Look:
    """What a look at `path` found, in words too; `content` is there where it is whole or weights only."""

    path: Path
    verdict: Verdict
    reason: str
    content: dict[str, Any] | None = None


def checkpoint_path(directory: Path, step: int) -> Path:
    """Where the checkpoint after `step` steps lies."""
    return directory / f"step-{step:08d}.pt"


def step_of(path: Path) -> int | None:
    """The step in a checkpoint's name, None where it is another file."""
    match = NAME.fullmatch(path.name)
    return int(match[1]) if match else None


def list_checkpoints(directory: Path) -> list[Path]:
    """The checkpoints of `directory`, oldest first; none where it is absent. Raises OSError where it cannot be read."""
    # Path.glob would take a directory that may not be read for an empty one.
    try:
        found = [path for path in directory.iterdir() if NAME.fullmatch(path.name)]
    except FileNotFoundError:
        return []
    return sorted(found, key=lambda path: (step_of(path), path.name))


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write `content`, tensors and plain values with at least KEYS, to `path`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        torch.save({"format": FORMAT, "version": VERSION} | content, file)


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read the checkpoint at `path` with its tensors on `device`.

    Raises FormatError where it is missing, damaged (every byte is under a checksum) or not a checkpoint of ours.
    """
    found = look_at(path, device)
    if found.content is None:
        raise FormatError(f"{path}: {found.reason}; {REMEDIES[found.verdict]}")
    return found.content


REMEDIES = {
    Verdict.DAMAGED: "use an older checkpoint",
    Verdict.OTHER_VERSION: "use the version of alexnet-train that wrote it, or train again",
    Verdict.UNREADABLE: "make it readable for this user, or use another checkpoint",
    Verdict.FOREIGN: "name a file of RUN/checkpoints",
    Verdict.MISSING: "alexnet-train writes them to RUN/checkpoints",
}


def look_at(path: Path, device: torch.device | str = "cpu") -> Look:
    """Read the checkpoint at `path` with its tensors on `device`, or find out why that cannot be done."""
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            return Look(path=path, verdict=Verdict.DAMAGED, reason=f"damaged: the checksum of {damaged} is wrong")
        content = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        return Look(path=path, verdict=Verdict.MISSING, reason=Verdict.MISSING.value)
    except IsADirectoryError:
        return Look(path=path, verdict=Verdict.FOREIGN, reason="a folder")
    except OSError as error:
        return Look(path=path, verdict=Verdict.UNREADABLE, reason=f"cannot be read ({error.strerror or error})")
    except MemoryError:
        return Look(path=path, verdict=Verdict.UNREADABLE, reason="unreadable: not enough memory to load it")
    except pickle.UnpicklingError as error:  # the bytes are those that were written: their checksums are right
        reason = str(error).partition("\n")[0]
        return Look(path=path, verdict=Verdict.FOREIGN, reason=f"unreadable as a checkpoint ({_plain(reason)})")
    # What else a damaged archive raises in zipfile and in torch's own reader.
    except PARSING_ERRORS as error:
        reason = str(error).partition("\n")[0]
        if "allocate memory" in reason:
            return Look(path=path, verdict=Verdict.UNREADABLE, reason="unreadable: not enough memory to load it")
        return Look(path=path, verdict=Verdict.DAMAGED, reason=f"damaged: unreadable ({_plain(reason)})")
    return _judge(path, content)


def _plain(reason: str) -> str:
    """The reason without torch's advice and file names of its source."""
    return (
        re.sub(r"\.? (In PyTorch|Please|\(1\)).*", "", re.sub(r"\[enforce fail at [^\]]*\] ?\.? ?", "", reason)) or "?"
    )


def _judge(path: Path, content: Any) -> Look:
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        return Look(path=path, verdict=Verdict.FOREIGN, reason=Verdict.FOREIGN.value)
    version = content.get("version")
    if version not in READABLE_VERSIONS:
        expected = " or ".join(map(str, READABLE_VERSIONS))
        reason = f"checkpoint of version {version!r}, expected {expected}"
        return Look(path=path, verdict=Verdict.OTHER_VERSION, reason=reason)
    if not content.keys() >= KEYS or not _is_plain(content):
        return Look(path=path, verdict=Verdict.FOREIGN, reason=Verdict.FOREIGN.value)
    verdict = Verdict.WHOLE if content.keys() >= STATE_KEYS else Verdict.WEIGHTS_ONLY
    return Look(path=path, verdict=verdict, reason=verdict.value, content=content)


def _is_plain(content: Mapping[str, Any]) -> bool:
    """Whether what every checkpoint has is of the kinds that it has them of: somebody may have changed it."""
    lists = [content["classes"], content["words"]]
    return (
        all(isinstance(content[key], Mapping) for key in TABLES)
        and all(isinstance(one, list) and all(type(word) is str for word in one) for one in lists)
        and len(lists[0]) == len(lists[1])
    )


def check_weights(content: Mapping[str, Any], config: ModelConfig, where: str) -> None:
    """Raise FormatError, naming `where`, unless a checkpoint's weights, averaged ones too, are of that network.

    And its statistics whole: somebody may have changed either.
    """
    if content["stats"].keys() != STATS_KEYS:
        raise FormatError(f"{where}: stats has {', '.join(content['stats'])}; expected {', '.join(sorted(STATS_KEYS))}")
    with torch.device("meta"):
        network = {name: tuple(tensor.shape) for name, tensor in AlexNet(config).state_dict().items()}
    for part, expected in (("model", network), ("average", network), ("stats", STATS_SHAPES)):
        given = content.get(part, content["model"])
        if not isinstance(given, Mapping):
            raise FormatError(f"{where}: {part} is no table of tensors: changed by somebody; use another checkpoint")
        for name in {**expected, **given}:
            found, wanted = described(given.get(name)), str(expected.get(name, "none"))
            if found != wanted:
                raise FormatError(
                    f"{where}: {part}, {name} is {found}, expected {wanted} by its own recipe: changed "
                    "by somebody; use another checkpoint"
                )


def described(value: Any) -> str:
    """The shape of a tensor that a network computes with, dense, of finite float32; else also what it is instead."""
    if not isinstance(value, Tensor):
        return "missing"
    shape = str(tuple(value.shape))
    if value.layout is not torch.strided or value.dtype is not torch.float32:
        layout = "" if value.layout is torch.strided else ", sparse"
        return f"{shape} of {str(value.dtype).removeprefix('torch.')}{layout}"
    return shape if bool(value.isfinite().all()) else f"{shape} with numbers that are not finite"
