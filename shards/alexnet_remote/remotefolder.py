"""A folder of shards in a store as the commands work on it: its small files copied, a shard at a time brought here."""

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from alexnet_remote.beside import INDEX_ROW_BYTES, MANIFEST_BYTES, SLACK_BYTES
from alexnet_remote.cacheconfig import OWN_FOLDER, CacheConfig, own_folder
from alexnet_remote.remotefile import Sink, fetch, glob_of, size_of
from alexnet_remote.remoteset import addresses_of, is_folder
from alexnet_remote.stop import Stop
from alexnet_remote.tries import RemoteFileError, RemoteFileMissingError
from alexnet_remote.upload import check_writable, upload_file
from alexnet_shards.address import Address
from alexnet_shards.errors import AlexnetError, FormatError, PatternError
from alexnet_shards.files import atomic_file
from alexnet_shards.locks import locked_file
from alexnet_shards.manifest import index_path, load_manifest, manifest_path, split_of
from alexnet_shards.shown import public_address

SETS_FOLDER, PREFIX, LOCK_NAME = "sets", "set-", ".lock"
ABANDONED_SECONDS = 24 * 3600.0
MOST_SHARD_BYTES = 1 << 40
MANIFEST_SUFFIX = ".manifest.json"
USUAL_SPLITS = ("train", "val", "validation", "test")  # what is looked for where a web server lists nothing


@dataclass(frozen=True, kw_only=True)
class RemoteFolder:
    """The folder of `place` in a store, and `copy`, a local one of its own for what is brought from there; picklable."""

    place: Address
    copy: Path
    config: CacheConfig

    @property
    def shown(self) -> str:
        """Its address as it may be shown."""
        return public_address(self.place.folder)

    def url_of(self, name: str) -> str:
        """The whole address of a file there."""
        return replace(self.place, name=name).url

    def bring(self, name: str, max_bytes: int) -> Path | None:
        """Copy a small file; None where the store has none."""
        path = self.copy / name
        try:
            with atomic_file(path, private=True) as file:
                fetch(self.url_of(name), Sink(file, path, max_bytes), self.config.patience, Stop())
                file.truncate()
        except RemoteFileMissingError:
            return None
        return path

    def bring_set(self, name: str) -> bool:
        """Copy manifest and index of a set; False where the store has no manifest of it."""
        manifest = self.bring(manifest_path(self.copy, name).name, MANIFEST_BYTES)
        if manifest is None:
            return False
        samples = load_manifest(manifest).samples
        self.bring(index_path(self.copy, name).name, samples * INDEX_ROW_BYTES + SLACK_BYTES)
        return True

    def names(self, glob: str) -> list[str]:
        """Names of the files there that match, [] where the server lists nothing."""
        with suppress(RemoteFileError):
            return [Address.parse(url).name for url in glob_of(self.url_of(glob), self.config.patience, Stop())]
        return []

    def put(self, name: str) -> None:
        """Upload the copy of a small file."""
        upload_file(self.copy / name, self.url_of(name), self.config.patience, Stop())

    @contextmanager
    def fetched(self, path: Path) -> Iterator[Path]:
        """The shard that is called as `path` is, in a file of its own while the block lasts; no file where the store has
        none."""
        here = self.copy if self.copy.is_dir() else None  # a worker may be on another machine
        with tempfile.TemporaryDirectory(prefix="shard-", dir=here) as folder:
            local = Path(folder) / path.name
            with suppress(RemoteFileMissingError), atomic_file(local, private=True) as file:
                fetch(self.url_of(path.name), Sink(file, local, MOST_SHARD_BYTES), self.config.patience, Stop())
                file.truncate()
            yield local

    def check_writable(self) -> None:
        """Raise ReadOnlyError where nothing can be uploaded."""
        check_writable(self.place.url)

    def size_of(self, name: str) -> int:
        """Bytes of a shard; raises PatternError where the store has none, or does not tell."""
        try:
            size = size_of(self.url_of(name), self.config.patience, Stop())
        except RemoteFileMissingError as error:
            raise PatternError(f"{error}; correct the pattern, or upload it") from error
        if size is None:
            raise PatternError(f"{public_address(self.url_of(name))}: the server does not tell its size")
        return size

    def worded(self, error: AlexnetError) -> AlexnetError:
        """The error of a copy, by its address."""
        return type(error)(str(error).replace(str(self.copy), self.shown))


@contextmanager
def remote_folder(patterns: Sequence[str], split: str | None) -> Iterator[tuple[RemoteFolder, tuple[str, ...]]]:
    """(the folder that `patterns` name in a store, names of the shards that are meant, () for the whole folder).

    `split` is whose shards a folder's name stands for, None for all. Raises PatternError for bad patterns and more than
    one folder. AlexnetErrors of the block that name its copies name the addresses instead.
    """
    config = CacheConfig.from_environment()
    if len(patterns) == 1 and is_folder(patterns[0]):
        place, names = Address.parse(patterns[0].rstrip("/") + "/"), tuple[str, ...]()
    else:
        found = [Address.parse(url) for url in addresses_of(patterns, config, split)]
        if len({address.folder for address in found}) != 1:
            raise PatternError(f"{public_address(patterns[0])}: names shards in several folders; name one folder")
        place, names = found[0], tuple(address.name for address in found)
    home = own_folder(config, config.home / OWN_FOLDER / SETS_FOLDER)
    _remove_abandoned(home)
    with (
        tempfile.TemporaryDirectory(prefix=PREFIX, dir=home, ignore_cleanup_errors=True) as copy,
        locked_file(Path(copy) / LOCK_NAME),
    ):
        folder = RemoteFolder(place=place, copy=Path(copy), config=config)
        try:
            yield folder, names
        except FormatError as error:
            raise folder.worded(error) from error


def _remove_abandoned(home: Path) -> None:
    """Remove the copies, shards among them, that killed commands left: a day old, and nobody's."""
    for copy in home.glob(f"{PREFIX}*"):
        with suppress(OSError, AlexnetError):  # somebody is at work there, or was faster
            if time.time() - copy.stat().st_mtime > ABANDONED_SECONDS:
                with locked_file(copy / LOCK_NAME, wait=False):
                    shutil.rmtree(copy)


def bring_sets(folder: RemoteFolder, shards: Sequence[str], split: str) -> tuple[str, ...]:
    """Copy manifest and index of the sets that are meant: those of `shards`, or all there, or just `split` ("all": any).

    Raises FormatError where there is none.
    """
    if shards:
        wanted = {split_of(name)[1] for name in shards}
    else:
        listed = {name.removesuffix(MANIFEST_SUFFIX) for name in folder.names(f"*{MANIFEST_SUFFIX}")}
        wanted = listed or set(USUAL_SPLITS)
    if split != "all":
        wanted = {split} if not shards else wanted & {split}
    there = tuple(name for name in sorted(wanted) if folder.bring_set(name))
    if not there:
        raise FormatError(
            f"{folder.shown}: no manifest of {' or '.join(sorted(wanted)) or split} there; expected a folder that "
            "alexnet-prep shards or index has written"
        )
    return there
