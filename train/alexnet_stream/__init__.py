"""Shards to batches: an exact, resumable stream of uint8 images at the cost of decoding them.

shards = open_shards(["shards/train-*.tar"])
with Stream(shards, StreamConfig(batch_size=256, seed=0)) as stream:
    for batch in stream.epoch("cpu"): ...  # batch.images_nhwc (256, 224, 224, 3) uint8, .labels, .flip, .noise_z
"""

from alexnet_stream.batch import Batch
from alexnet_stream.cacheconfig import CacheConfig
from alexnet_stream.dataset import ShardDataset
from alexnet_stream.remote import SplitMissingError, file_beside, open_shards, split_beside
from alexnet_stream.remotefile import RemoteFileMissingError
from alexnet_stream.stop import Stop, StoppedError
from alexnet_stream.stream import Stream, StreamConfig

# Names for other rooms, and the modules that they may import from; everything else is private to the room.
__all__ = [
    "Batch",
    "CacheConfig",
    "RemoteFileMissingError",
    "ShardDataset",
    "SplitMissingError",
    "Stop",
    "StoppedError",
    "Stream",
    "StreamConfig",
    "file_beside",
    "indexed",
    "open_shards",
    "split_beside",
]
