"""Shards that are made for a store: each uploaded whole once it is built in a local work folder, its sidecar last.

The work folder holds what a run needs to go on (plans, sidecars) as the store has it, the split's manifests and indices, and
the shards that are being made. A shard counts as done once its sidecar is in the store, and the store still has the object
that was uploaded.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet_prep.errors import RunError
from alexnet_remote import (
    CacheConfig,
    Patience,
    RemoteFileMissingError,
    Stop,
    StoreLock,
    StoreLockHeldError,
    check_store_lock,
    check_writable,
    create_object,
    fetch_file,
    glob_of,
    head_of,
    open_forward,
    own_folder,
    remove_file,
    store_lock,
    upload_file,
)
from alexnet_shards.files import own_directory, write_atomic
from alexnet_shards.manifest import BUILD_DIRECTORY, index_path, manifest_path
from alexnet_shards.parsing import Where, load_json
from alexnet_shards.shown import public_address

LOCK_NAME = ".lock"
FETCHED_PREFIX = ".fetched-"
PLAN_NAME = "plan.json"
INFO_NAME, STATS_NAME = "_info.json", "stats.npz"
MANIFESTS = "*.manifest.json"  # of all splits, which the first of these lists
CLAIM_NAME = "store"  # whose work folder this is
STORED_SUFFIX = ".stored"  # beside a sidecar: the version of the object that was uploaded
SMALL_BYTES = 512 << 20
MOST_SHARD_BYTES = 1 << 40
AT_ONCE = 16
HASH_BYTES = 8 << 20


@dataclass(frozen=True)
class OutputStore:
    """The folder `address` of a store, and the local `work` folder; picklable, for the workers."""

    address: str
    work: Path

    @classmethod
    def at(cls, address: str, work: Path | None) -> "OutputStore":
        """The store at an address; `work` None is a folder of the cache. Raises ReadOnlyError for a web server's."""
        folder = address.rstrip("/")
        check_writable(f"{folder}/")
        if work is None:
            config = CacheConfig.from_environment()
            digits = hashlib.sha256(folder.encode()).hexdigest()[:24]
            work = own_folder(config, own_folder(config, config.home / "remote" / "work") / digits)
        return cls(folder, work.absolute())  # workers may stand in other folders

    @property
    def shown(self) -> str:
        """Its address as it may be shown."""
        return public_address(self.address)

    def keep(self, split: str, name: str, sidecar: bytes) -> None:
        """Upload a shard of the work folder, then its sidecar, and remove the local shard."""
        shard = self.work / name
        head = upload_file(shard, f"{self.address}/{name}", Patience(), Stop())
        folder = self._build(split)
        write_atomic(folder / f"{name}{STORED_SUFFIX}", head.version.encode())
        both = folder / f"{name}.json.upload"
        write_atomic(both, json.dumps({"sidecar": sidecar.decode(), "version": head.version}).encode())
        upload_file(both, self._url(split, f"{name}.json"), Patience(), Stop())
        both.unlink()
        shard.unlink()

    def has(self, split: str, name: str, size: int, sha256: str) -> bool:
        """Whether the store has a shard as it was uploaded; where nobody knows how that was, its bytes are read."""
        url = f"{self.address}/{name}"
        try:
            head = head_of(url, Patience(), Stop())
        except RemoteFileMissingError:
            return False
        if head.size != size:
            return False
        stored = self._build(split) / f"{name}{STORED_SUFFIX}"
        with suppress(OSError):
            return stored.read_text() == head.version
        digest = hashlib.sha256()
        with open_forward(url) as file:
            while piece := file.read(HASH_BYTES):
                digest.update(piece)
        if digest.hexdigest() == sha256:
            write_atomic(stored, head.version.encode())
            return True
        return False

    def claim(self) -> None:
        """Make the work folder this store's own: what lies there may be replaced and removed from now on.

        Raises RunError where it has shards that were not made for this store.
        """
        marker = own_directory(self.work / BUILD_DIRECTORY) / CLAIM_NAME
        mine = hashlib.sha256(self.address.encode()).hexdigest()
        if marker.is_file() and marker.read_text() == mine:
            return
        kinds = ["*.tar"] if marker.is_file() else ["*.tar", MANIFESTS]  # those of another store's set may go
        stranger = next((path for kind in kinds for path in sorted(self.work.glob(kind))), None)
        if stranger is not None:
            raise RunError(f"{stranger}: was not made for {self.shown}; --work must be a folder of its own")
        write_atomic(marker, mine.encode())

    def pull(self, split: str, is_alone: bool) -> None:
        """Make plan, sidecars, manifest and index of the work folder what the store has; where nobody else works there
        remove what a killed run had built and not uploaded, too."""
        folder = self._build(split)
        for path in self.work.glob(f"{split}-*.tar") if is_alone else ():
            path.unlink()
        for path in self.work.glob(f"{FETCHED_PREFIX}*") if is_alone else ():
            shutil.rmtree(path, ignore_errors=True)
        listed = glob_of(self._url(split, "*.json"), Patience(), Stop())
        wanted = {url.rpartition("/")[2] for url in listed}
        for path in [*folder.glob(f"{split}-*.json"), *folder.glob(f"{split}-*{STORED_SUFFIX}"), folder / PLAN_NAME]:
            path.unlink(missing_ok=True)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda name: self._pull_one(split, name), sorted(wanted)))
        manifests = self.names(MANIFESTS)
        for path in self.work.glob(MANIFESTS):
            if path.name not in manifests:
                path.unlink()
        for name in sorted({*manifests, index_path(self.work, split).name, INFO_NAME, STATS_NAME}):
            self._fetch(f"{self.address}/{name}", self.work / name)

    def names(self, glob: str) -> set[str]:
        """Names of the files in the store's folder that match."""
        return {url.rpartition("/")[2] for url in glob_of(f"{self.address}/{glob}", Patience(), Stop())}

    def put_plan(self, split: str) -> None:
        """Upload the plan of a split, where the store has none; raises RunError where another run has just begun there."""
        path = self._build(split) / PLAN_NAME
        if create_object(self._url(split, PLAN_NAME), path.read_bytes(), Patience(), Stop()):
            return
        there = path.with_name(f"{PLAN_NAME}.there")
        fetch_file(self._url(split, PLAN_NAME), there, SMALL_BYTES)
        is_same = there.read_bytes() == path.read_bytes()
        there.unlink()
        if not is_same:
            raise RunError(f"{self.shown}: another run has just begun there; start again")

    def forget(self, split: str, name: str) -> None:
        """Remove the sidecar of a shard, which is damaged: it is made again."""
        remove_file(self._url(split, f"{name}.json"), Patience(), Stop())

    def put(self, name: str) -> None:
        """Upload a file of the work folder."""
        upload_file(self.work / name, f"{self.address}/{name}", Patience(), Stop())

    @contextmanager
    def fetched(self, name: str) -> Iterator[Path]:
        """A shard of the store as a local file while the block runs."""
        with tempfile.TemporaryDirectory(prefix=FETCHED_PREFIX, dir=self.work) as folder:
            path = Path(folder) / name
            fetch_file(f"{self.address}/{name}", path, MOST_SHARD_BYTES)
            yield path

    def put_set(self, split: str) -> None:
        """Upload the index, then the manifest of a split, then what lists the splits: it is whole then."""
        for place in (index_path(self.work, split), manifest_path(self.work, split), self.work / INFO_NAME):
            if place.exists():
                upload_file(place, f"{self.address}/{place.name}", Patience(), Stop())

    @contextmanager
    def locked(self, part: str = "") -> Iterator[StoreLock]:
        """Own the folder while the block runs, or, beside other parts, the lock called `part`; raises RunError where another
        process does."""
        whole, parts = f"{self.address}/{LOCK_NAME}", f"{self.address}/{BUILD_DIRECTORY}"
        try:
            with store_lock(f"{parts}/{part}" if part else whole, Patience(), Stop()) as lock:
                for url in [whole] if part else glob_of(f"{parts}/part-*.lock", Patience(), Stop()):
                    check_store_lock(url, Patience(), Stop())
                yield lock
        except StoreLockHeldError as error:
            raise RunError(str(error)) from error

    def _pull_one(self, split: str, name: str) -> None:
        path = self._build(split) / name
        if not self._fetch(self._url(split, name), path) or name == PLAN_NAME:
            return
        with suppress(ValueError, KeyError, TypeError, AttributeError):  # what is no sidecar of ours is made again
            both: dict[str, Any] = load_json(Where(path=path, what="sidecar", remedy="the shard is built again"))
            write_atomic(path, both["sidecar"].encode())
            write_atomic(path.with_name(name.removesuffix(".json") + STORED_SUFFIX), both["version"].encode())
            return
        path.unlink()

    def _fetch(self, url: str, path: Path) -> bool:
        try:
            fetch_file(url, path, SMALL_BYTES)
        except RemoteFileMissingError:
            path.unlink(missing_ok=True)
            return False
        return True

    def _build(self, split: str) -> Path:
        return own_directory(own_directory(self.work / BUILD_DIRECTORY) / split)

    def _url(self, split: str, name: str) -> str:
        return f"{self.address}/{BUILD_DIRECTORY}/{split}/{name}"
