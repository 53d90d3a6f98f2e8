"""What other readers want beside shards: timm's _info.json, wids' list of shards, DALI's index of each shard."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from alexnet_shards.errors import FormatError
from alexnet_shards.files import write_atomic
from alexnet_shards.manifest import Manifest, load_manifest
from alexnet_shards.parsing import Where, load_json
from alexnet_shards.pattern import expand_patterns
from alexnet_shards.sets import MANIFEST_SUFFIX, SetFiles, find_sets
from alexnet_shards.splits import ALL_SPLITS
from alexnet_shards.tar import FILE, walk_tar

READERS = ("timm", "dali", "wids")
INFO_NAME, MAKER = "_info.json", "alexnet-prep"
DALI_VERSION = "v1.2"


def are_indexed(patterns: Sequence[str]) -> bool:
    """Whether every set that `patterns` name has its manifest; raises PatternError as expand_patterns does."""
    return all(files.manifest.exists() for files in find_sets(expand_patterns(patterns, ALL_SPLITS)))


def side_files(patterns: Sequence[str], readers: Iterable[str]) -> list[Path]:
    """Write what each of `readers`, names of READERS, wants beside the sets that `patterns` name; returns the files."""
    sets = find_sets(expand_patterns(patterns, ALL_SPLITS)) if readers else []
    return list(dict.fromkeys(path for files in sets for path in write_side_files(readers, files)))


def write_side_files(readers: Iterable[str], files: SetFiles) -> list[Path]:
    """Write what each of `readers`, names of READERS, wants beside the shards of `files`; returns the files.

    Raises FormatError where the set has no manifest, or somebody else's file of that name is there.
    """
    written: list[Path] = []
    for reader in dict.fromkeys(readers):
        manifest = load_manifest(files.manifest)
        if reader == "timm":
            if not write_info(files.directory):
                raise FormatError(f"{files.directory / INFO_NAME}: somebody else's; move it away, then write it anew")
            written.append(files.directory / INFO_NAME)
        elif reader == "wids":
            written.append(write_wids(files.directory, manifest))
        else:
            shards = [files.directory / fact.name for fact in manifest.shards]
            written += write_dali(shards, files.directory)
    return written


def write_info(directory: Path) -> bool:
    """Write what timm reads a folder by: its splits, their shards and how many samples each has; False, and nothing
    done, where somebody else's `_info.json` is there."""
    path = directory / INFO_NAME
    for _ in range(100):  # another split may get its manifest meanwhile: what is written last must know it
        content = info_of(directory)
        if os.path.lexists(path):
            there = _info_there(path)
            if there is None:
                return False
            if there == content:
                return True
        write_atomic(path, _json_bytes(content))
    return True


def info_of(directory: Path) -> dict[str, Any]:
    """The content of `_info.json` by the manifests in `directory`; one that cannot be read has no split there."""
    splits = {}
    for path in sorted(directory.glob(f"*{MANIFEST_SUFFIX}")):
        try:
            manifest = load_manifest(path)
        except FormatError:
            continue
        splits[manifest.split] = {
            "name": manifest.split,
            "num_samples": manifest.samples,
            "filenames": [fact.name for fact in manifest.shards],
            "shard_lengths": [fact.samples for fact in manifest.shards],
            "alt_label": "",
        }
    return {"made_by": MAKER, "splits": splits}


def info_trouble(directory: Path) -> str | None:
    """What is wrong with the `_info.json` of `directory`; None where it is right, absent or somebody else's."""
    path = directory / INFO_NAME
    if not os.path.lexists(path):
        return None
    there = _info_there(path)
    if there is None or there == info_of(directory):
        return None
    return "it is not what the manifests say; make it again with alexnet-prep index --for timm"


def _info_there(path: Path) -> dict[str, Any] | None:
    """The object in a file of ours; None for anybody else's, and for what cannot be read."""
    try:
        content = load_json(Where(path=path, what="list of splits", remedy="move it away"))
    except (FormatError, OSError):
        return None
    return content if isinstance(content, dict) and content.get("made_by") == MAKER else None


def write_wids(directory: Path, manifest: Manifest) -> Path:
    """Write SPLIT.wids.json, which wids.ShardListDataset opens, whose shards are named relative to it."""
    shards = [
        {"url": fact.name, "nsamples": fact.samples, "filesize": fact.bytes, "sha256": fact.sha256}
        for fact in manifest.shards
    ]
    content = {
        "__kind__": "wids-shard-index-v1",
        "wids_version": 1,
        "name": manifest.split,
        "shardlist": shards,
    }
    path = directory / f"{manifest.split}.wids.json"
    write_atomic(path, _json_bytes(content))
    return path


def write_dali(shards: Sequence[Path], directory: Path) -> list[Path]:
    """Write the index that DALI's webdataset reader takes of each shard, as wds2idx does; SHARD.idx in `directory`."""
    paths = []
    for shard in shards:
        path = directory / f"{shard.name.removesuffix('.tar')}.idx"
        write_atomic(path, dali_index_bytes(shard))
        paths.append(path)
    return paths


def dali_index_bytes(shard: Path) -> bytes:
    """DALI's index of a shard: a line for each sample with suffix, offset, bytes and name of its members."""
    samples = [
        " ".join(f"{_suffix(name)} {offset} {size} {name}" for name, offset, size in members)
        for _, members in groupby(_members(shard), key=lambda member: _key(member[0]))
    ]
    text = "".join(f"{line}\n" for line in (f"{DALI_VERSION} {len(samples)}", *samples))
    return text.encode("utf-8", "surrogateescape")


def _members(shard: Path) -> Iterator[tuple[str, int, int]]:
    """(name, offset, bytes) of the plain files of a shard that belong to a sample: not those that begin with a dot."""
    with shard.open("rb") as file:
        descriptor, end = file.fileno(), os.fstat(file.fileno()).st_size
        for member in walk_tar(lambda offset, size: os.pread(descriptor, size, offset), 0, end, str(shard)):
            if member.is_file and member.kind == FILE and not member.extents and _key(member.name).rpartition("/")[2]:
                yield member.name, member.offset, member.size


def _key(name: str) -> str:
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.partition(".")[0]


def _suffix(name: str) -> str:
    return name.rpartition("/")[2].partition(".")[2]


def _json_bytes(content: Any) -> bytes:
    return json.dumps(content, indent=1, allow_nan=False).encode() + b"\n"
