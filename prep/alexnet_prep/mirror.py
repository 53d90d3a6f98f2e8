"""A source at an address: its small files brought here whole, each of its archives as a file that says where it is."""

import hashlib
import json
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from alexnet_prep.classes import KAGGLE_CLASSES
from alexnet_prep.errors import SourceError
from alexnet_prep.splitfiles import DATA_FOLDER
from alexnet_remote import (
    Patience,
    RemoteFileMissingError,
    Stop,
    expand_address,
    fetch_file,
    glob_of,
    head_of,
    is_file_pattern,
)
from alexnet_shards.address import WEB, Address
from alexnet_shards.editions import ADDRESS_SUFFIX, EDITIONS, FORMS, Edition, plain_name
from alexnet_shards.errors import AlexnetError
from alexnet_shards.files import own_directory, write_atomic
from alexnet_shards.locks import locked
from alexnet_shards.manifest import BUILD_DIRECTORY
from alexnet_shards.parsing import Where, load_json_object
from alexnet_shards.shown import printable, public_address
from alexnet_shards.splits import SPELLINGS

T = TypeVar("T")
SOURCE_FOLDER, VERSIONS_NAME = "source", ".versions.json"
SMALL_BYTES = 256 << 20  # of a devkit, a ground truth, a class list
PATCH_BYTES = 4 << 30
AT_ONCE = 16
DENIED = "; or not for you: this store answers the same for what a user may not read, so check the keys too"
STORED_FORMS = tuple(form for form in FORMS if form != ADDRESS_SUFFIX)
SUFFIXES = (".parquet", ".tar")
SMALL_NAMES = (
    KAGGLE_CLASSES,
    *(name for edition in EDITIONS.values() for name in (edition.devkit, edition.test_truth) if name),
)


@dataclass(frozen=True)
class _Wanted:
    """A file of a source: where it is, its path in the folder that stands for the source, and how large it may be to be
    brought there (0: an archive)."""

    place: Address
    path: str
    max_bytes: int = 0


@dataclass(frozen=True)
class _There:
    """A file that is there, with what its store says of it."""

    wanted: _Wanted
    size: int | None
    version: str


def mirrored(source: Path | str, out: Path, edition: str, split: str) -> Path:
    """The folder of a source; of one at an address, or at several, a line each, one in `out`'s `.build` that stands for it.

    Other files have a folder of their own: another run may be at work in `out` with its. Of several that ask for the same
    at once, as parts do, one brings it.
    A server need not list what it has: of a folder the official names are tried, of the archives of `split` (or "all"),
    compressed ones too; parquet files and tars are those that it lists, or that patterns name. Raises SourceError where
    there is no archive, and for what cannot be had.
    """
    if isinstance(source, Path):
        return source
    try:
        there, build = _found(source.splitlines(), edition, split), own_directory(out / BUILD_DIRECTORY)
        addresses = sorted(public_address(file.wanted.place.url) for file in there)
        digits = hashlib.sha256("\n".join(addresses).encode()).hexdigest()[:16]
        with locked(build):
            folder = own_directory(own_directory(build / SOURCE_FOLDER) / digits)
            _bring_all(folder, there)
    except SourceError:
        raise
    except AlexnetError as error:
        raise SourceError(str(error)) from error
    return folder


def _bring_all(folder: Path, there: Sequence[_There]) -> None:
    """Have just these files in `folder`."""
    versions = _read_versions(folder / VERSIONS_NAME)
    brought = {_bring(folder, file, versions.get(file.wanted.path)) for file in there}
    # What is brought but not yet noted is brought once more, never taken for another version.
    noted = {file.wanted.path: file.version for file in there if file.wanted.max_bytes}
    if noted != versions:
        write_atomic(folder / VERSIONS_NAME, json.dumps(noted, indent=1).encode())
    for path in folder.rglob("*"):
        if path.is_file() and path not in brought and path.name != VERSIONS_NAME:
            path.unlink()


def shown_source(source: Path | str) -> str:
    """A source as it may be shown."""
    return public_address(", ".join(source.splitlines())) if isinstance(source, str) else str(source)


def _found(patterns: Sequence[str], edition: str, split: str) -> list[_There]:
    if len(patterns) > 1 or is_file_pattern(patterns[0], SUFFIXES):
        addresses = [Address.parse(url) for pattern in patterns for url in expand_address(pattern)]
        return _looked(_distinct(map(_named, addresses)), _look)
    text = patterns[0]
    place = Address.parse(text.rstrip("/") + "/" if "?" not in text else text)
    official = [file for name, each in EDITIONS.items() if edition in ("auto", name) for file in _files(each, split)]
    looked = _looked([replace(file, place=place) for file in official], _look_for)
    there = [found for found in looked if isinstance(found, _There)]
    if any(not file.wanted.max_bytes for file in there):
        return there
    listed = [] if edition in EDITIONS else _listed(place)
    if not any(not file.max_bytes for file in listed):
        hidden = any(isinstance(found, RemoteFileMissingError) and found.hidden for found in looked)
        raise SourceError(
            f"{public_address(place.folder)}: {_nothing(place, edition, official)}{DENIED if hidden else ''}"
        )
    return _looked(listed, _look)


def _nothing(place: Address, edition: str, official: Sequence[_Wanted]) -> str:
    """What is said where nothing was found."""
    names = [file.path for file in official if not file.max_bytes]
    names = [*names[:-1], f"{names[-1]}, or .gz or .zst of them"] if names else []
    more = [] if edition in EDITIONS else ["parquet files or webdataset tars"]
    lists = (
        "; a web server need not list what it has: name the files, as --source 'https://host/train-{0000..1023}.tar'"
        if place.folder.startswith(WEB) and more
        else ""
    )
    return f"no ImageNet source there; expected {' or '.join([*names, *more])}{lists}"


def _files(edition: Edition, split: str) -> Iterator[_Wanted]:
    nowhere = Address(folder="", name="")
    for of, names in (("train", (edition.train,)), ("val", (edition.val,)), ("test", edition.tests)):
        if split in ("all", of):
            yield from (_Wanted(nowhere, name) for name in names)
    for name, max_bytes in (
        (edition.devkit, SMALL_BYTES),
        (edition.patch, PATCH_BYTES),
        (edition.test_truth, SMALL_BYTES),
    ):
        if name:
            yield _Wanted(nowhere, name, max_bytes)


def _listed(place: Address) -> list[_Wanted]:
    """The files that a store lists where `split_files` looks for them."""
    inside = ["", *SPELLINGS]
    folders = [*inside, DATA_FOLDER, *(f"{DATA_FOLDER}/{name}" for name in SPELLINGS)]

    def listing(below: str) -> list[_Wanted]:
        folder = replace(place, folder="/".join(filter(None, (place.folder, below))), name="*")
        try:
            found = [Address.parse(url) for url in glob_of(folder.url, Patience(), Stop())]
        except RemoteFileMissingError:
            return []
        named = ((each, _file_name(each)) for each in found)
        wanted = [(each, name, _max_bytes(name)) for each, name in named]
        return [
            _Wanted(each, "/".join(filter(None, (below, name))), most)
            for each, name, most in wanted
            if most is not None and (most == 0 or not below)
        ]

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [file for files in pool.map(listing, folders) for file in files]


def _named(place: Address) -> _Wanted:
    """A file that was named: it keeps the name of its folder where that says a split."""
    name, parent = _file_name(place), place.folder.rpartition("/")[2]
    most = _max_bytes(name)
    if most is None:
        raise SourceError(f"{public_address(place.url)}: expected a .tar, .tar.gz, .tar.zst or .parquet file")
    return _Wanted(place, f"{parent}/{name}" if parent in SPELLINGS and not most else name, most)


def _file_name(place: Address) -> str:
    name = printable(urllib.parse.unquote(place.name) if place.folder.startswith(WEB) else place.name)
    return name.replace("/", "_")


def _max_bytes(name: str) -> int | None:
    """How large a file of this name may be to be brought here, 0 of an archive, None of what is no part of a source."""
    if name in SMALL_NAMES:
        return SMALL_BYTES
    is_archive = plain_name(name).lower().endswith(SUFFIXES) and name[0] not in "._"
    return 0 if is_archive and not name.endswith(ADDRESS_SUFFIX) else None


def _distinct(files: Iterable[_Wanted]) -> list[_Wanted]:
    found: dict[str, _Wanted] = {}
    for file in files:
        other = found.setdefault(file.path, file)
        if other is not file:
            one, two = public_address(other.place.url), public_address(file.place.url)
            raise SourceError(f"{one}: {two} has the same name; expected files of different names")
    return list(found.values())


def _looked(files: Sequence[_Wanted], look: Callable[[_Wanted], T]) -> list[T]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(look, files))


def _look(file: _Wanted) -> _There:
    head = head_of(file.place.url, Patience(), Stop())
    return _There(file, head.size, head.version)


def _look_for(file: _Wanted) -> _There | RemoteFileMissingError:
    """The first form in which an official file is there, else what the store says of the last."""
    missing = RemoteFileMissingError(file.path)
    for form in STORED_FORMS if file.path.endswith(".tar") else ("",):
        try:
            return _look(replace(file, place=replace(file.place, name=file.path + form)))
        except RemoteFileMissingError as error:
            missing = error
    return missing


def _read_versions(path: Path) -> dict[str, Any]:
    """The versions of the small files that were brought, by path; {} where they are not known."""
    return load_json_object(Where(path=path, what="versions", remedy="the files are brought again"))


def _bring(folder: Path, file: _There, version: object) -> Path:
    """Have a file of the source in `folder`, brought again but where it is known to be there in this `version`.

    A corrected class list has as many bytes as before. Returns its path there.
    """
    wanted = file.wanted
    for name in Path(wanted.path).parts[:-1]:
        folder = own_directory(folder / name)
    url, name = wanted.place.url, wanted.path.rpartition("/")[2]
    if not wanted.max_bytes or (file.size or 0) > wanted.max_bytes:
        path = folder / f"{name}{ADDRESS_SUFFIX}"
        content = f"{url}\n# {file.size} bytes, {printable(file.version)}\n"
        if not path.is_file() or path.read_text("utf-8") != content:  # its time says whether it is still the same
            write_atomic(path, content.encode(), private=True)
        return path
    path = folder / wanted.place.name
    is_here = path.is_file() and path.stat().st_size == file.size
    if not is_here or not file.version.strip() or file.version != version:
        fetch_file(url, path, wanted.max_bytes)
    return path
