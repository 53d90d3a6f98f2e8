"""Where the cache of remote files lies and how much it may hold, as the environment says."""

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from alexnet_remote.tries import Patience
from alexnet_shards.errors import AlexnetError
from alexnet_shards.files import own_directory
from alexnet_shards.native import cache_home

GIB = 1 << 30
MAX_GIB = 1 << 20
OWN_FOLDER = "remote"


@dataclass(frozen=True, kw_only=True)
class CacheConfig:
    """How remote shards are kept, at most `max_bytes` of them, and fetched.

    `home` is a folder that others may use too; the cache's own folder is `remote` in it. `verify`: a process reads each
    copy whole before its first use, instead of comparing its size and time alone.
    """

    home: Path
    max_bytes: int
    patience: Patience = field(default_factory=Patience)
    verify: bool = False

    @property
    def shards(self) -> Path:
        """The folder of the shards' copies."""
        return self.home / OWN_FOLDER / "shards"

    @property
    def meta(self) -> Path:
        """The folder of copies of the small files beside shards; they are not evicted."""
        return self.home / OWN_FOLDER / "meta"

    @classmethod
    def from_environment(cls) -> Self:
        """ALEXNET_CACHE (a directory; else the user's cache home), ALEXNET_CACHE_GIB (else 64), ALEXNET_CACHE_VERIFY.

        Raises AlexnetError where one of them cannot be used.
        """
        gib = os.environ.get("ALEXNET_CACHE_GIB") or "64"
        try:
            size = float(gib)
        except ValueError:
            size = math.nan
        if not 0 < size <= MAX_GIB:
            raise AlexnetError(f"ALEXNET_CACHE_GIB is {gib!r}; expected a number of GiB, above 0 and up to {MAX_GIB:,}")
        verify = os.environ.get("ALEXNET_CACHE_VERIFY", "") not in ("", "0")
        return cls(home=_home_of_environment(), max_bytes=int(size * GIB), verify=verify)


def _home_of_environment() -> Path:
    named = os.environ.get("ALEXNET_CACHE")
    if not named:
        return cache_home()
    try:
        home = Path(named).expanduser().absolute()
    except RuntimeError as error:
        raise AlexnetError(f"ALEXNET_CACHE is {named!r}: {error}; name a folder by its whole path") from error
    if home.exists() and not home.is_dir():
        raise AlexnetError(
            f"ALEXNET_CACHE is {named!r}, which is no folder; name a folder, it is made where it is missing"
        )
    return home


def own_folder(config: CacheConfig, folder: Path) -> Path:
    """`folder` of the cache, made where it is missing, for this user alone.

    Raises FileError where it cannot be made or is a link, as one that somebody laid leads what is written elsewhere.
    """
    for path in (config.home, config.home / OWN_FOLDER):
        own_directory(path)
    return own_directory(folder, private=True)
