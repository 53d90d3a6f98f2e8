"""A source at an address: its small files copied, and for each archive that is there a file with its address."""

import re
from contextlib import suppress
from pathlib import Path

from alexnet_prep.errors import SourceError
from alexnet_remote import RemoteFileMissingError, open_forward
from alexnet_shards.editions import ADDRESS_SUFFIX, EDITIONS, FORMS, Edition
from alexnet_shards.errors import AlexnetError
from alexnet_shards.files import own_directory, write_atomic
from alexnet_shards.manifest import BUILD_DIRECTORY
from alexnet_shards.shown import public_address

MIRROR_NAME = "source"
MAX_SMALL_BYTES = 64 << 20
# What pathlib makes of an address: two slashes are one.
ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*):/{1,2}([^/].*)")


def mirrored(source: Path, out: Path, edition: str, split: str) -> Path:
    """`source` where it is a folder of this machine; where it is an address a folder below `out` that stands for it.

    Its archives (of `split`, or "all") are looked for under their official names, plain or compressed. Raises SourceError
    where none is there or the store cannot be asked.
    """
    match = ADDRESS.fullmatch(str(source))
    if match is None or source.exists():
        return source
    address = f"{match[1]}://{match[2].rstrip('/')}"
    folder = own_directory(own_directory(out / BUILD_DIRECTORY) / MIRROR_NAME)
    wanted = [each for name, each in EDITIONS.items() if edition in ("auto", name)]
    try:
        there = [each for each in wanted if _mirror(each, address, folder, split)]
    except SourceError:
        raise
    except AlexnetError as error:
        raise SourceError(str(error)) from error
    if not there:
        names = " or ".join(each.train for each in wanted) or "official archives"
        raise SourceError(f"{public_address(address)}: no ImageNet source there; expected {names} (or val, or test)")
    return folder


def _mirror(edition: Edition, address: str, folder: Path, split: str) -> bool:
    """Mirror one year's files; whether an archive of images is there."""
    names = {"train": (edition.train,), "val": (edition.val,), "test": edition.tests}
    archives = [name for of, each in names.items() if split in ("all", of) for name in each]
    found = [_mirror_archive(name, address, folder) for name in archives]
    if any(found):
        for name in filter(None, (edition.devkit, edition.test_truth)):
            with suppress(RemoteFileMissingError), open_forward(f"{address}/{name}") as file:
                _write(folder / name, file.read(MAX_SMALL_BYTES))
        if edition.patch:
            _mirror_archive(edition.patch, address, folder)
    return any(found)


def _mirror_archive(name: str, address: str, folder: Path) -> bool:
    path = folder / f"{name}{ADDRESS_SUFFIX}"
    for form in FORMS:
        place = f"{address}/{name}{form}"
        with suppress(RemoteFileMissingError), open_forward(place):
            _write(path, f"{place}\n".encode())
            return True
    path.unlink(missing_ok=True)
    return False


def _write(path: Path, content: bytes) -> None:
    """Write a file, unless it is there with that content: its time says whether the source is the same."""
    with suppress(FileNotFoundError):
        if path.read_bytes() == content:
            return
    write_atomic(path, content)
