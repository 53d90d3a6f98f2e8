"""A folder of shards: which of them its name stands for, and the pattern to type where one names others."""

import os
from collections.abc import Iterable
from pathlib import Path

from alexnet_shards.errors import FormatError, PatternError
from alexnet_shards.manifest import load_manifest, manifest_path, name_style, shards_of, split_of
from alexnet_shards.splits import ALL_SPLITS, spellings_of, split_in

MOST_LINES = 4  # kinds of shards that a message names


def folder_shards(folder: str, split: str | None) -> list[str]:
    """Paths of the shards that the name of a local `folder` stands for: all of `split`, None for the one kind there, "all"
    for every kind.

    A set's name says its split (alexnet_shards.splits). All of it are those that its manifest lists, there or not; without
    a manifest, those that are there.
    Raises PatternError where there are none, or several kinds to choose from, and FormatError for a damaged manifest.
    """
    kinds = _kinds(folder)
    if split == ALL_SPLITS:
        if kinds:
            return [path for name in dict.fromkeys(kinds.values()) for path in _set_shards(folder, name)]
        split = None
    sets = {name: glob for glob, name in kinds.items() if split is None or split_in(name) == split}
    if split is not None:
        listed = {name: name for name in spellings_of(split) if manifest_path(Path(folder), name).exists()}
        sets = listed | sets
    if len(sets) != 1:
        some = {glob: name for glob, name in kinds.items() if name in sets} or kinds
        what = f"holds no {split}-*.tar; " if split is not None and not sets else ""
        raise PatternError(f"{folder}: {what}{_what_is_there(some)}")
    (name,) = sets
    return _set_shards(folder, name)


def _set_shards(folder: str, name: str) -> list[str]:
    """Paths of the shards of a set: those that its manifest lists, or without one those that are there."""
    manifest = manifest_path(Path(folder), name)
    if manifest.exists() and (facts := load_manifest(manifest).shards):
        return [f"{folder.rstrip('/')}/{fact.name}" for fact in facts]
    return [str(path) for path in shards_of(Path(folder), name)]


def missing_line(paths: list[str], missing: list[str], patterns: Iterable[str]) -> str:
    """What a user is told where `missing` of `paths` are no files: why, and the pattern of those that are there."""
    named = " ".join(list(patterns)[:3])
    what = f"{missing[0]}: no such shard ({len(missing)} of {len(paths)} of {named!r} missing)"
    try:
        folder, split = split_of(missing[0])
        manifest = manifest_path(Path(folder), split)
        if manifest.exists() and Path(missing[0]).name in {fact.name for fact in load_manifest(manifest).shards}:
            return f"{what}; {manifest.name} lists it: restore it, or make it again with alexnet-prep shards"
        count = len(shards_of(Path(folder), split))
    except FormatError:
        return f"{what}; expected a folder of shards, SPLIT-NUMBER.tar or a pattern of them in quotes"
    if not os.path.isdir(folder):  # noqa: PTH112
        return f"{what}; there is no folder {folder}: check the path, or make shards with alexnet-prep shards"
    if not count:
        return f"{what}; {_what_is_there(_kinds(folder))}"
    there = f"{count} {'is' if count == 1 else 'are'}"
    return f"{what}; {there} there: name {'it' if count == 1 else 'them'} '{folder}/{split}-*.tar', quotes included"


def _kinds(folder: str) -> dict[str, str]:
    """{glob: name of the set} of the tars of a folder, by what their names have in common."""
    kinds: dict[str, str] = {}
    for path in sorted(Path(folder).glob("*.tar")):
        style = name_style(path.name)
        if style and not path.name.startswith("."):
            kinds[f"{folder.rstrip('/')}/{style[0]}{style[1]}*{style[2]}"] = split_of(path.name)[1]
    return kinds


def _what_is_there(kinds: dict[str, str]) -> str:
    if not kinds:
        return "no shards are there; make them with alexnet-prep shards, or name the folder where they are"
    lines = [f"'{glob}'" for glob in kinds][:MOST_LINES]
    return f"name the shards that are meant: {' or '.join(lines)}{' …' if len(kinds) > len(lines) else ''}"
