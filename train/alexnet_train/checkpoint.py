"""Checkpoints: whole or absent files, checked byte by byte when read, loaded without running any code in them."""

import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import torch

from alexnet_shards.errors import FormatError
from alexnet_shards.files import atomic_file

FORMAT = "alexnet-checkpoint"
VERSION = 2
NAME = re.compile(r"step-(\d+)\.pt")
KEYS = frozenset({"recipe", "model", "stats", "classes", "words", "step", "epoch"})


def checkpoint_path(directory: Path, step: int) -> Path:
    """Where the checkpoint after `step` steps lies."""
    return directory / f"step-{step:08d}.pt"


def list_checkpoints(directory: Path) -> list[Path]:
    """The checkpoints of `directory`, oldest first."""
    found = [path for path in directory.glob("step-*.pt") if NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(path.stem.removeprefix("step-")))


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write `content`, tensors and plain values with at least KEYS, to `path`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        torch.save({"format": FORMAT, "version": VERSION} | content, file)


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read the checkpoint at `path` with its tensors on `device`.

    Raises FormatError where it is missing, damaged (every byte is under a checksum) or not a checkpoint of ours.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise FormatError(f"{path}: damaged: the checksum of {damaged} is wrong; use an older checkpoint")
        content = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise FormatError(f"{path}: no such checkpoint; alexnet-train writes them to RUN/checkpoints") from error
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        reason = str(error).partition("\n")[0]
        raise FormatError(f"{path}: unreadable checkpoint ({reason}); use an older checkpoint") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT or not content.keys() >= KEYS:
        raise FormatError(f"{path}: not a checkpoint of alexnet-train; name a file of RUN/checkpoints")
    if content["version"] != VERSION:
        raise FormatError(f"{path}: checkpoint of version {content['version']!r}, expected {VERSION}; train again")
    return content


def remove_old_checkpoints(directory: Path, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints."""
    for path in list_checkpoints(directory)[:-keep]:
        path.unlink(missing_ok=True)
