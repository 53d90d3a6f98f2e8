"""A source at an address: its small files brought here whole, each of its archives as a file that says where it is."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from alexnet_prep.errors import SourceError
from alexnet_remote import Patience, RemoteFileMissingError, Stop, fetch_file, size_of
from alexnet_shards.address import Address
from alexnet_shards.editions import ADDRESS_SUFFIX, EDITIONS, FORMS, Edition
from alexnet_shards.errors import AlexnetError
from alexnet_shards.files import own_directory, write_atomic
from alexnet_shards.manifest import BUILD_DIRECTORY
from alexnet_shards.shown import public_address

SOURCE_FOLDER = "source"
SMALL_BYTES = 256 << 20  # of a devkit, a ground truth
PATCH_BYTES = 4 << 30
AT_ONCE = 8
STORED_FORMS = tuple(form for form in FORMS if form != ADDRESS_SUFFIX)


@dataclass(frozen=True)
class _Wanted:
    """A file that an edition is made of: its name, and how large it may be to be brought here (0: an archive)."""

    name: str
    max_bytes: int


def mirrored(source: Path | str, out: Path, edition: str, split: str) -> Path:
    """The folder of a source; of an address one in the `.build` of `out` that stands for it.

    A server need not list what it has: the official names are tried, of the archives of `split` (or "all"), compressed ones
    too. Raises SourceError where there is no archive, and for what cannot be had.
    """
    if isinstance(source, Path):
        return source
    try:
        return _brought(Address.parse(source.rstrip("/") + "/" if "?" not in source else source), out, (edition, split))
    except SourceError:
        raise
    except AlexnetError as error:
        raise SourceError(str(error)) from error


def _brought(place: Address, out: Path, asked: tuple[str, str]) -> Path:
    edition, split = asked
    wanted = [
        file for name, official in EDITIONS.items() if edition in ("auto", name) for file in _files(official, split)
    ]
    if not wanted:
        raise SourceError(f"{public_address(place.folder)}: only the official archives are read from an address")
    folder = own_directory(own_directory(out / BUILD_DIRECTORY) / SOURCE_FOLDER)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = [entry for entry in pool.map(lambda file: _look(place, file), wanted) if entry is not None]
    if not any(not file.max_bytes for file, _, _ in found):
        names = " or ".join(file.name for file in wanted if not file.max_bytes)
        raise SourceError(
            f"{public_address(place.folder)}: no ImageNet source there; expected {names}, or .gz or .zst of them"
        )
    brought = {_bring(place, folder, *entry) for entry in found}
    for path in folder.iterdir():
        if path.name not in brought:
            path.unlink()
    return folder


def _files(edition: Edition, split: str) -> Iterator[_Wanted]:
    for of, names in (("train", (edition.train,)), ("val", (edition.val,)), ("test", edition.tests)):
        if split in ("all", of):
            yield from (_Wanted(name, 0) for name in names)
    for name, max_bytes in (
        (edition.devkit, SMALL_BYTES),
        (edition.patch, PATCH_BYTES),
        (edition.test_truth, SMALL_BYTES),
    ):
        if name:
            yield _Wanted(name, max_bytes)


def _look(place: Address, file: _Wanted) -> tuple[_Wanted, str, int | None] | None:
    """(file, its name there, its size) of the first form in which it is there."""
    forms = STORED_FORMS if file.name.endswith(".tar") else ("",)
    for form in forms:
        name = file.name + form
        try:
            return file, name, size_of(replace(place, name=name).url, Patience(), Stop())
        except RemoteFileMissingError:
            continue
    return None


def _bring(place: Address, folder: Path, file: _Wanted, name: str, size: int | None) -> str:
    """Have a file of the source in `folder`; returns its name there."""
    url = replace(place, name=name).url
    if not file.max_bytes or (size or 0) > file.max_bytes:
        path = folder / f"{file.name}{ADDRESS_SUFFIX}"
        if not path.is_file() or path.read_text("utf-8") != url:  # its time says whether it is still the same
            write_atomic(path, url.encode(), private=True)
        return path.name
    path = folder / name
    if size is None or not path.is_file() or path.stat().st_size != size:
        fetch_file(url, path, file.max_bytes)
    return path.name
