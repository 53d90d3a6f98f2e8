"""The shard directory's contract: names, index, manifest, statistics, and the set of shards that they describe.

shards = open_shards(["shards/train-*.tar"])
print(shards.num_samples, shards.classes[0].wnid, shards.rows["label"][:10])
mean_image_hwc = load_stats(Path("shards/stats.npz")).mean_image_hwc
"""

from alexnet_shards.errors import AlexnetError, FormatError
from alexnet_shards.manifest import ClassFact, Manifest, load_manifest
from alexnet_shards.shardset import ShardSet, open_shards
from alexnet_shards.stats import Stats, load_stats

__version__ = "0.1.0"

# Names for other rooms, and the modules that they may import from; everything else is private to the room.
__all__ = [
    "AlexnetError",
    "ClassFact",
    "FormatError",
    "Manifest",
    "ShardSet",
    "Stats",
    "__version__",
    "address",
    "adopt",
    "editions",
    "errors",
    "extras",
    "files",
    "geometry",
    "index",
    "labels",
    "load_manifest",
    "load_stats",
    "locks",
    "machine",
    "manifest",
    "native",
    "open_shards",
    "parsing",
    "pattern",
    "pool",
    "processes",
    "scan",
    "sets",
    "shardset",
    "shown",
    "sidefiles",
    "splits",
    "stats",
    "tar",
    "tarblocks",
]
