"""The manifest of a split: what its shards are, how they were made, and what became of every source file."""

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from alexnet_shards.errors import FormatError
from alexnet_shards.files import write_atomic
from alexnet_shards.parsing import Where, check_fields, field_types, load_json

FORMAT = "alexnet-shards"
VERSION = 1

SHA256 = re.compile("[0-9a-f]{64}")
NOT_IN_NAMES = re.compile(r"[\x00-\x1f\x7f/\\*?\[\]{}<>]|://")
MAX_NAME_BYTES = 255
UUID = "(?i:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{16,})"
SHARD_NAME = re.compile(
    rf"(?P<split>.*?)(?P<separator>[-_.]?)(?P<number>\d+-of-\d+|{UUID}|\d*)(?P<suffix>(\.tar)+)", re.DOTALL
)
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
    `index_sha256` is of the index file beside it, empty in manifests of before it was kept.
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
    index_sha256: str = ""

    @property
    def samples(self) -> int:
        """Number of samples over all shards."""
        return sum(shard.samples for shard in self.shards)

    def fingerprint(self, names: Sequence[str] | None = None) -> str:
        """64 hex digits that name the content of the shards `names` (file names; None: all), in any order."""
        wanted = None if names is None else set(names)
        chosen = [shard for shard in self.shards if wanted is None or shard.name in wanted]
        return hashlib.sha256("\n".join(sorted(shard.sha256 for shard in chosen)).encode()).hexdigest()


def is_nameless(classes: Sequence[ClassFact]) -> bool:
    """Whether there is no list, or none but the numbers that shards made elsewhere get in its place."""
    return [fact.wnid for fact in classes] == [str(label) for label in range(len(classes))]


CLASS_TYPES, SHARD_TYPES, MANIFEST_TYPES = map(field_types, (ClassFact, ShardFact, Manifest))


def check_shard_name(name: str) -> None:
    """Raise ValueError unless `name` is a shard's plain file name: no path, no address, nothing that patterns read."""
    plain = NOT_IN_NAMES.search(name) is None and len(os.fsencode(name)) <= MAX_NAME_BYTES
    if not plain or name.startswith((".", "~", "-")) or SHARD_NAME.fullmatch(name) is None:
        raise ValueError(f"{name[:80]!r} is no plain shard name, as train-000.tar")


def shard_name(split: str, number: int, num_shards: int) -> str:
    """File name of a shard: three digits, or more where `num_shards` needs them."""
    digits = max(3, len(str(num_shards - 1)))
    return f"{split}-{number:0{digits}d}.tar"


def split_of(shard_path: str) -> tuple[str, str]:
    """(directory or URL prefix, split name) of a shard's path; raises FormatError for a name that is no tar's.

    Ours are SPLIT-NUMBER.tar; of others the split is what stands before the number at the end, which may also be
    00000-of-00128 or a UUID: train_000.tar and train000.tar are of "train", 000.tar is of UNNAMED_SPLIT. A name without
    number is a split of its own.
    """
    directory, _, name = shard_path.rpartition("/")
    match = SHARD_NAME.fullmatch(name) if len(name) <= MAX_NAME_BYTES else None
    if match is None or name.startswith("."):
        raise FormatError(f"{shard_path}: not a shard's name; expected SPLIT-NUMBER.tar, as train-000.tar")
    return directory or ".", match["split"] or UNNAMED_SPLIT


def set_name(names: Sequence[str]) -> str:
    """What shards that are one set are called: their split, or what their names have in common up to a separator."""
    splits = {split_of(name)[1] for name in names}
    if len(splits) == 1:
        return splits.pop()
    first, last = min(names), max(names)
    length = next((place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    common = re.fullmatch(r"(.*?)[-_.][^-_.]*", first[:length])
    return common[1] if common and common[1] else UNNAMED_SPLIT


def shards_of(directory: Path, split: str) -> list[Path]:
    """The tars of `split` that lie in `directory`, by name."""
    paths = (path for path in directory.glob("*.tar") if not path.name.startswith("."))
    return sorted(path for path in paths if split_of(path.name)[1] == split)


def name_style(shard: str) -> tuple[str, ...]:
    """What the names of shards that were numbered together have in common."""
    match = SHARD_NAME.fullmatch(shard)
    if match is None:
        return ()
    number = match["number"]
    kind = number.partition("-of-")[2] or "uuid" if "-" in number else "number" if number else ""
    return (match["split"], match["separator"], match["suffix"], kind)


def manifest_path(directory: Path, split: str) -> Path:
    """Where the manifest of `split` lies."""
    return directory / f"{split}.manifest.json"


def index_path(directory: Path, split: str) -> Path:
    """Where the index of `split` lies."""
    return directory / f"{split}.index.npy"


def save_manifest(path: Path, manifest: Manifest) -> None:
    """Write `manifest` to `path` as JSON, whole or not at all; equal manifests give equal bytes."""
    content = {"format": FORMAT, "version": VERSION, **asdict(manifest)}
    if not manifest.index_sha256:
        del content["index_sha256"]
    # Bytes of names that are no UTF-8 are lone surrogates here; "backslashreplace" writes those as JSON's own escapes.
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    write_atomic(path, text.encode("utf-8", "backslashreplace") + b"\n")


def load_manifest(path: Path) -> Manifest:
    """Read the manifest at `path`; raises FormatError where it is missing, damaged or of another version."""
    where = Where(
        path=path, what="manifest", remedy="restore it, or remove it and make it again with alexnet-prep index"
    )
    try:
        content = load_json(where)
    except FileNotFoundError as error:
        raise FormatError(f"{path}: no manifest beside the shards; make it with alexnet-prep index") from error
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise FormatError(f"{path}: not a manifest of shards; make it with alexnet-prep index")
    version = content.pop("version", None)
    if version != VERSION or isinstance(version, bool):
        raise FormatError(
            f"{path}: manifest of version {version!r:.40}, expected {VERSION}; make it again with this alexnet-prep"
        )
    try:
        return _parse_manifest(content)
    except (KeyError, TypeError, ValueError) as error:
        raise where.wrong(" ".join(str(error).split())[:200]) from error


def _parse_manifest(content: dict[str, Any]) -> Manifest:
    """The manifest in a JSON object; raises KeyError, TypeError or ValueError where it is none."""
    seed = content.pop("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or abs(seed) >= 2**64:
        raise ValueError("its seed is no number")
    check_fields(Manifest, content, MANIFEST_TYPES)
    content["classes"] = tuple(ClassFact(**check_fields(ClassFact, fact, CLASS_TYPES)) for fact in content["classes"])
    shards = tuple(ShardFact(**check_fields(ShardFact, fact, SHARD_TYPES)) for fact in content.pop("shards"))
    for fact in shards:
        check_shard_name(fact.name)
        if SHA256.fullmatch(fact.sha256) is None:
            raise ValueError(f"the sha256 of {fact.name} is no 64 hex digits")
    if len({fact.name for fact in shards}) != len(shards):
        raise ValueError("a shard stands twice")
    if sum(fact.samples for fact in shards) >= 2**40:
        raise ValueError("more samples than can be")
    if content.get("index_sha256") and SHA256.fullmatch(content["index_sha256"]) is None:
        raise ValueError("the sha256 of the index is no 64 hex digits")
    return Manifest(**content, shards=shards, seed=seed)
