"""Results of evaluations, kept beside their checkpoint and found again where nothing has changed that they depend on."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from alexnet_shards import __version__
from alexnet_shards.errors import FileError
from alexnet_shards.files import file_sha256, worded, write_atomic
from alexnet_shards.parsing import Where, as_json_values, load_json_object
from alexnet_shards.shardset import ShardSet
from alexnet_train.classlist import list_sha256
from alexnet_train.distributed import World

KEPT_NAME = "evaluations.json"
ARITHMETIC = 1  # one more wherever the same network, shards and views may give other figures than before
MOST_KEPT = 64
MAX_BYTES = 16 << 20


class KeptEvaluation:
    """One evaluation's place among those that are kept in `evaluations.json` beside its first checkpoint."""

    def __init__(self, checkpoints: Sequence[Path], shards: ShardSet, how: Mapping[str, Any]) -> None:
        """Made before the checkpoints are read. `how` is every option that the result depends on."""
        self.path = checkpoints[0].parent / KEPT_NAME
        self._checkpoints, self._shards, self._how = tuple(checkpoints), shards, dict(how)
        self._files = [file_of(path) for path in checkpoints]

    def found_or_computed(
        self, compute: Callable[[], dict[str, Any]], world: World, again: bool, say: Callable[[str], None]
    ) -> dict[str, Any]:
        """The kept result in the first process; where there is none, or `again`, all `compute` it, and it is kept."""
        found = self.find() if world.is_main and not again else None
        if world.any([found is not None])[0]:
            say(f"{self.path}: holds the result of just this evaluation (--again computes it anew)")
            return found or {}
        result = compute()
        if world.is_main and not result["quarantined"]:
            try:
                self.keep(result)
            except FileError as error:
                say(f"warning: the result is not kept: {error}")
        return result

    def find(self) -> dict[str, Any] | None:
        """The result of just this evaluation; None where there is none, or it is not whole."""
        for entry in self._entries():
            if entry["conditions"] == self._conditions:
                result: dict[str, Any] = entry["result"]
                return result
        return None

    def keep(self, result: Mapping[str, Any]) -> None:
        """Keep `result` in the place of an earlier one. Raises FileError where it cannot be written.

        It is not kept where a checkpoint has been replaced meanwhile, as by a run that goes on: nobody knows which of
        the two was read.
        """
        if [file_of(path) for path in self._checkpoints] != self._files:
            return
        others = [entry for entry in self._entries() if entry["conditions"] != self._conditions]
        entry = {"conditions": self._conditions, "result": as_json_values(dict(result))}
        entries = [*others, entry | {"sha256": _sum_of(entry)}][-MOST_KEPT:]
        with worded(self.path):
            write_atomic(self.path, json.dumps({"evaluations": entries}, indent=1).encode() + b"\n")

    @cached_property
    def _conditions(self) -> dict[str, Any]:
        """All that the result depends on, the checkpoints by the checksums of their bytes."""
        shards = self._shards
        content = {
            "checkpoints_sha256": [file_sha256(path) for path in self._checkpoints],
            "split": shards.manifest.split,
            "samples": shards.num_samples,
            "shards_fingerprint": shards.fingerprint,
            "rows_sha256": shards.rows_sha256,  # labels need not stand in the shards
            "class_list_sha256": list_sha256(shards.classes),
            "how": self._how,
            "arithmetic": ARITHMETIC,
            "versions": {"alexnet": __version__, "torch": torch.__version__, "simplejpeg": version("simplejpeg")},
        }
        return dict(as_json_values(content))

    def _entries(self) -> list[dict[str, Any]]:
        """The whole entries of the file, oldest first; what is damaged counts as not there."""
        where = Where(path=self.path, what="kept results", remedy="it is made anew")
        found = load_json_object(where, MAX_BYTES).get("evaluations")
        return [entry for entry in found if _is_whole(entry)] if isinstance(found, list) else []


def _is_whole(entry: Any) -> bool:
    if not isinstance(entry, dict) or entry.keys() != {"conditions", "result", "sha256"}:
        return False
    content = {name: entry[name] for name in ("conditions", "result")}
    return isinstance(entry["result"], dict) and entry["sha256"] == _sum_of(content)


def _sum_of(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def file_of(path: Path) -> tuple[int, int, int, int] | None:
    """What changes where another file comes under this name, or its bytes are written over; None of no file."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns
