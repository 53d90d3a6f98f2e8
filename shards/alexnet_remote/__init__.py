"""The one way to files that are not on this machine: s3://, gs://, https://, anything fsspec reads.

shards = open_shards(["s3://bucket/set/train-*.tar"])  # local patterns too; the set's manifest and index are fetched
path = file_beside(shards, "stats.npz")  # a small file beside them, or the copy of one
with open_forward("https://host/archive.tar.gz") as file: ...  # file.read_at(offset, size), in rising order
"""

from alexnet_remote.beside import STATS_BYTES
from alexnet_remote.cacheconfig import CacheConfig, own_folder
from alexnet_remote.forward import BackwardError, ForwardFile, open_forward
from alexnet_remote.inflate import MAGIC_BYTES, compression_of
from alexnet_remote.outcome import LocalTroubleError
from alexnet_remote.ranges import NoRangesError, RangedFile, open_ranged
from alexnet_remote.remotefile import fetch_file, glob_of, head_of, size_of
from alexnet_remote.remotefolder import RemoteFolder, bring_sets, remote_folder
from alexnet_remote.remoteset import (
    RemoteShards,
    RemoteShardSet,
    SplitMissingError,
    expand_address,
    file_beside,
    is_file_pattern,
    open_shards,
    split_beside,
)
from alexnet_remote.stop import POLL_SECONDS, Stop, StoppedError
from alexnet_remote.storelock import StoreLock, StoreLockHeldError, check_store_lock, create_object, store_lock
from alexnet_remote.tries import Patience, RemoteFileError, RemoteFileMissingError
from alexnet_remote.upload import check_writable, remove_file, upload_file

# Names for other rooms, and the modules that they may import from; everything else is private to the room.
__all__ = [
    "MAGIC_BYTES",
    "POLL_SECONDS",
    "STATS_BYTES",
    "BackwardError",
    "CacheConfig",
    "ForwardFile",
    "LocalTroubleError",
    "NoRangesError",
    "Patience",
    "RangedFile",
    "RemoteFileError",
    "RemoteFileMissingError",
    "RemoteFolder",
    "RemoteShardSet",
    "RemoteShards",
    "SplitMissingError",
    "Stop",
    "StoppedError",
    "StoreLock",
    "StoreLockHeldError",
    "bring_sets",
    "check_store_lock",
    "check_writable",
    "compression_of",
    "create_object",
    "expand_address",
    "fetch_file",
    "file_beside",
    "glob_of",
    "head_of",
    "is_file_pattern",
    "open_forward",
    "open_ranged",
    "open_shards",
    "own_folder",
    "remote_folder",
    "remove_file",
    "size_of",
    "split_beside",
    "store_lock",
    "upload_file",
]
