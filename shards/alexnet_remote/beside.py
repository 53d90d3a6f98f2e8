"""The small files beside shards, manifest, index and statistics: fetched anew by any number of processes at once."""

import hashlib
from pathlib import Path

from alexnet_remote.cacheconfig import CacheConfig, own_folder
from alexnet_remote.remotefile import Sink, fetch
from alexnet_remote.stop import Stop
from alexnet_shards.address import Address
from alexnet_shards.files import atomic_file

# Most bytes of each: more is no such file, however it came to be offered.
MANIFEST_BYTES, STATS_BYTES = 128 << 20, 64 << 20
INDEX_ROW_BYTES, SLACK_BYTES = 24, 1 << 16


def fetch_beside(place: Address, config: CacheConfig, max_bytes: int, sha256: str = "") -> Path:
    """A copy of the small file at `place`, fetched now; raises as alexnet_remote.remotefile says.

    One of another `sha256` than that, where it is known, is fetched again. Each process writes a file of its own, and
    whole ones take the copy's place.
    """
    folder = own_folder(config, config.meta / hashlib.sha256(place.folder.encode()).hexdigest()[:24])
    copy = folder / place.name
    with atomic_file(copy, private=True) as file:
        fetch(place.url, Sink(file, copy, max_bytes, sha256), config.patience, Stop())
        file.truncate()
    return copy
