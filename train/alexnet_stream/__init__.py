"""Shards to batches: an exact, resumable stream of uint8 images at the cost of decoding them.

shards = open_shards(["shards/train-*.tar"])
with Stream(shards, StreamConfig(batch_size=256, seed=0)) as stream:
    for batch in stream.epoch("cpu"): ...  # batch.images_nhwc (256, 224, 224, 3) uint8, .labels, .flip, .noise_z
"""

from alexnet_remote import CacheConfig, Stop, StoppedError, open_shards
from alexnet_stream.batch import Batch
from alexnet_stream.config import StreamConfig
from alexnet_stream.dataset import ShardDataset
from alexnet_stream.handover import class_names, dali_index, webdataset_pipeline
from alexnet_stream.stream import Stream

# Names for other rooms, and the modules that they may import from; everything else is private to the room.
__all__ = [
    "Batch",
    "CacheConfig",
    "ShardDataset",
    "Stop",
    "StoppedError",
    "Stream",
    "StreamConfig",
    "class_names",
    "dali_index",
    "indexed",
    "open_shards",
    "webdataset_pipeline",
]
