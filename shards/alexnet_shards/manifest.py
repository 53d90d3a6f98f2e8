"""The manifest of a split: what its shards are, how they were made, and what became of every source file."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from alexnet_shards.errors import FormatError
from alexnet_shards.files import write_atomic

FORMAT = "alexnet-shards"
VERSION = 1

SHARD_NAME = re.compile(r"(?P<split>.*?)(?P<separator>[-_.]?)(?P<number>\d*)(?P<suffix>(\.tar)+)")
UNNAMED_SPLIT = "shards"  # of shards named by their number alone
JPEG_SUFFIX = ".jpg"
LABEL_SUFFIX = ".cls"
BUILD_DIRECTORY = ".build"  # where alexnet-prep keeps what it needs to go on with an unfinished split


@dataclass(frozen=True, kw_only=True)
class ClassFact:
    """One class; its place in Manifest.classes is its 0-based label, `official_id` the devkit's 1-based ID, or 0."""

    wnid: str
    words: str = ""
    official_id: int = 0


@dataclass(frozen=True, kw_only=True)
class ShardFact:
    """One shard: file name, samples, length in bytes and sha256 of the whole tar."""

    name: str
    samples: int
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything known of a split. The place of a shard in `shards` is its number in the index.

    `recipe` is how pixels were made (resize, filter, quality, …), empty for shards made elsewhere. `report` is what
    became of the source: members, written, patched, dropped, converted, and differences to the devkit's counts.
    """

    split: str
    classes: tuple[ClassFact, ...]
    shards: tuple[ShardFact, ...]
    label_order: str = "unknown"
    edition: str = "unknown"
    seed: int = 0
    recipe: dict[str, Any] = field(default_factory=dict)
    libraries: dict[str, str] = field(default_factory=dict)
    source: dict[str, Any] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def samples(self) -> int:
        """Number of samples over all shards."""
        return sum(shard.samples for shard in self.shards)

    def fingerprint(self, names: Sequence[str] | None = None) -> str:
        """64 hex digits that name the content of the shards `names` (file names; None: all), in any order."""
        chosen = [shard for shard in self.shards if names is None or shard.name in set(names)]
        return hashlib.sha256("\n".join(sorted(shard.sha256 for shard in chosen)).encode()).hexdigest()


def shard_name(split: str, number: int, num_shards: int) -> str:
    """File name of a shard: three digits, or more where `num_shards` needs them."""
    digits = max(3, len(str(num_shards - 1)))
    return f"{split}-{number:0{digits}d}.tar"


def split_of(shard_path: str) -> tuple[str, str]:
    """(directory or URL prefix, split name) of a shard's path; raises FormatError for a name that is no tar's.

    Ours are SPLIT-NUMBER.tar; of others the split is what stands before the number at the end: train_000.tar and
    train000.tar are of "train", 000.tar is of UNNAMED_SPLIT. A name without number is a split of its own.
    """
    directory, _, name = shard_path.rpartition("/")
    match = SHARD_NAME.fullmatch(name)
    if match is None or name.startswith("."):
        raise FormatError(f"{shard_path}: not a shard's name; expected SPLIT-NUMBER.tar, as train-000.tar")
    return directory or ".", match["split"] or UNNAMED_SPLIT


def shards_of(directory: Path, split: str) -> list[Path]:
    """The tars of `split` that lie in `directory`, by name."""
    paths = (path for path in directory.glob("*.tar") if not path.name.startswith("."))
    return sorted(path for path in paths if split_of(path.name)[1] == split)


def check_one_set(paths: Sequence[Path]) -> None:
    """Raise FormatError where shards of one split name are two sets: train-0 and train_0, 000 and shards000, 1 and 01."""
    first_of: dict[int, Path] = {}
    for path in paths:
        style, number = _style_and_number(path)
        other = first_of.setdefault(number, path) if style == _style_and_number(paths[0])[0] else paths[0]
        if other != path:
            raise FormatError(
                f"{path.parent}: {other.name} and {path.name} are of two sets of shards with one name; "
                "keep each in a directory of its own"
            )


def _style_and_number(shard: Path) -> tuple[tuple[str, ...], int]:
    """What every name of a set has in common, and the shard's number, -1 for none."""
    match = SHARD_NAME.fullmatch(shard.name)
    if match is None:
        return (), -1
    numbered = "numbered" if match["number"] else ""
    return (match["split"], match["separator"], match["suffix"], numbered), int(match["number"] or -1)


def manifest_path(directory: Path, split: str) -> Path:
    """Where the manifest of `split` lies."""
    return directory / f"{split}.manifest.json"


def index_path(directory: Path, split: str) -> Path:
    """Where the index of `split` lies."""
    return directory / f"{split}.index.npy"


def save_manifest(path: Path, manifest: Manifest) -> None:
    """Write `manifest` to `path` as JSON, whole or not at all; equal manifests give equal bytes."""
    content = {"format": FORMAT, "version": VERSION, **asdict(manifest)}
    write_atomic(path, json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n")


def load_manifest(path: Path) -> Manifest:
    """Read the manifest at `path`; raises FormatError where it is missing, damaged or of another version."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise FormatError(f"{path}: no manifest beside the shards; make it with alexnet-prep index") from error
    except (ValueError, OSError) as error:
        raise FormatError(f"{path}: unreadable manifest ({error}); make it again with alexnet-prep index") from error
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise FormatError(f"{path}: not a manifest of shards; make it with alexnet-prep index")
    version = content.pop("version", None)
    if version != VERSION:
        raise FormatError(
            f"{path}: manifest of version {version!r}, expected {VERSION}; make it again with this alexnet-prep"
        )
    try:
        content["classes"] = tuple(ClassFact(**fact) for fact in content["classes"])
        content["shards"] = tuple(ShardFact(**fact) for fact in content["shards"])
        return Manifest(**content)
    except (KeyError, TypeError) as error:
        raise FormatError(f"{path}: damaged manifest ({error}); make it again with alexnet-prep index") from error
