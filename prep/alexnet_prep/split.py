"""One split of a source: every image's place, key and label, in an order that depends on nothing but the names."""

import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet_prep.archive import Members, Names
from alexnet_prep.errors import SourceError
from alexnet_shards.files import atomic_file
from alexnet_shards.index import NO_LABEL
from alexnet_shards.manifest import ClassFact

Labels = npt.NDArray[np.int32]
ARRAYS = ("names", "keys", "locations", "labels", "patched")


@dataclass(frozen=True, kw_only=True)
class SplitSource:
    """The N images of a split, sorted by key.

    `names` (N,) are file names, `keys` (N,) the samples' keys, `locations` (N,) LOCATION_DTYPE into `containers`,
    `labels` (N,) int32 0-based or NO_LABEL, `patched` (N,) bool. `expected_counts` is the devkit's number of images a
    class where it states one. `notes` are lines for the report: what is missing, surplus or ignored.
    """

    split: str
    edition: str
    label_order: str
    classes: tuple[ClassFact, ...]
    containers: tuple[Path, ...]
    names: Names
    keys: Names
    locations: npt.NDArray[np.void]
    labels: Labels
    patched: npt.NDArray[np.bool_]
    expected_counts: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def key(self, row: int) -> str:
        """The key of image `row`."""
        return bytes(self.keys[row]).decode("utf-8", "surrogateescape")

    def identity(self) -> str:
        """64 hex digits that change when an image, its place, its label or the class list changes."""
        digest = hashlib.sha256(json.dumps([asdict(fact) for fact in self.classes]).encode())
        for array in (self.keys, self.locations, self.labels, self.patched):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def count_differences(self) -> list[dict[str, object]]:
        """Classes whose number of images is not the devkit's: wnid, found, expected."""
        if not self.expected_counts:
            return []
        found = np.bincount(self.labels, minlength=len(self.classes))
        return [
            {"wnid": fact.wnid, "found": int(count), "expected": expected}
            for fact, count, expected in zip(self.classes, found, self.expected_counts, strict=True)
            if count != expected
        ]


def sort_members(members: Members, labels: Labels, keys: Names | None = None) -> tuple[Members, Labels, Names]:
    """Members, labels and keys in key order; raises SourceError where a key stands twice.

    The key is the file name's stem unless given: the stem of `n01440764_10026.JPEG` is `n01440764_10026`.
    """
    keys = stems(members.names) if keys is None else keys
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    twice = np.flatnonzero(keys[1:] == keys[:-1])
    if len(twice):
        name = bytes(keys[twice[0]]).decode("utf-8", "replace")
        raise SourceError(f"{name}: {len(twice)} image names stand twice in the source; expected every name once")
    ordered = Members(
        names=members.names[order], locations=members.locations[order], groups=members.groups, ignored=members.ignored
    )
    return ordered, labels[order], keys


def stems(names: Names) -> Names:
    """(N,) names without their last suffix; dots left become `_`, since a sample's key ends at its first dot."""
    parts = [bytes(name).rpartition(b".") for name in names]
    return np.array([(head if dot else tail).replace(b".", b"_") for head, dot, tail in parts], dtype=np.bytes_)


def relabel(official: Labels, classes: Sequence[ClassFact], label_order: str) -> tuple[Labels, tuple[ClassFact, ...]]:
    """0-based labels and class list in `label_order` ("devkit" or "wnid") from 0-based labels in devkit order."""
    if label_order == "devkit":
        return official, tuple(classes)
    order = sorted(range(len(classes)), key=lambda number: classes[number].wnid)
    rank = np.empty(len(classes), np.int32)
    rank[order] = np.arange(len(classes), dtype=np.int32)
    labels = np.where(official == NO_LABEL, np.int32(NO_LABEL), rank[official])
    return labels.astype(np.int32), tuple(classes[number] for number in order)


def apply_patches(members: Members, patches: Members) -> tuple[Members, npt.NDArray[np.bool_], list[str]]:
    """Members whose bytes come from `patches` where a patch has their name, (N,) bool of those, and unused patches."""
    place = {bytes(name): number for number, name in enumerate(members.names)}
    locations = members.locations.copy()
    patched = np.zeros(len(members.names), np.bool_)
    unused = []
    for name, location in zip(patches.names, patches.locations, strict=True):
        row = place.get(bytes(name))
        if row is None:
            unused.append(bytes(name).decode("utf-8", "replace"))
            continue
        for field in ("container", "offset", "size"):
            locations[field][row] = location[field]
        patched[row] = True
    replaced = Members(names=members.names, locations=locations, groups=members.groups, ignored=members.ignored)
    return replaced, patched, unused


def save_split(path: Path, source: SplitSource, key: str) -> None:
    """Keep `source` at `path` as .npz under the cache `key`, for `load_split`."""
    facts = {
        "key": key,
        "split": source.split,
        "edition": source.edition,
        "label_order": source.label_order,
        "classes": [asdict(fact) for fact in source.classes],
        "containers": [str(container) for container in source.containers],
        "expected_counts": source.expected_counts,
        "notes": source.notes,
    }
    arrays: dict[str, Any] = {name: getattr(source, name) for name in ARRAYS}
    with atomic_file(path) as file:
        np.savez(file, facts=np.asarray(json.dumps(facts)), **arrays)


def load_split(path: Path, key: str) -> SplitSource | None:
    """The split kept at `path`, None where there is none of that `key` (it is made again from the archives then)."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            facts = json.loads(str(archive["facts"]))
            if facts.pop("key") != key:
                return None
            arrays = {name: archive[name] for name in ARRAYS}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    facts["classes"] = tuple(ClassFact(**fact) for fact in facts["classes"])
    facts["containers"] = tuple(Path(name) for name in facts["containers"])
    facts["expected_counts"], facts["notes"] = tuple(facts["expected_counts"]), tuple(facts["notes"])
    return SplitSource(**facts, **arrays)
