"""Which image goes to which shard, decided before a single one is decoded."""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alexnet_prep.errors import SourceError
from alexnet_prep.split import SplitSource
from alexnet_shards.manifest import shard_name

MEMBERS_A_SHARD = 1260
OFFICIAL_TRAIN_SHARDS = 1000
# Both official training sets have over 1.26 million images; a copy that lost a few is still one of them.
OFFICIAL_TRAIN_MEMBERS = 1_200_000


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A seeded global permutation of a split's members, cut into `num_shards` even parts.

    `order` is (N,) int64: the members in the order in which they stand in the shards.
    """

    split: str
    order: npt.NDArray[np.int64]
    num_shards: int

    def rows(self, shard: int) -> npt.NDArray[np.int64]:
        """Members of one shard, in their order in it."""
        bounds = [len(self.order) * number // self.num_shards for number in (shard, shard + 1)]
        return self.order[bounds[0] : bounds[1]]

    def name(self, shard: int) -> str:
        """File name of one shard."""
        return shard_name(self.split, shard, self.num_shards)


def make_plan(source: SplitSource, seed: int, num_shards: int | None) -> Plan:
    """Shuffle a split by `seed` and cut it into `num_shards` (None: 1000 for an official training set, else 1,260 a shard).

    Raises SourceError where there are more shards than images.
    """
    members = len(source)
    if num_shards is None:
        num_shards = usual_num_shards(source.split, members)
    if not 1 <= num_shards <= members:
        raise SourceError(
            f"--num-shards {num_shards}: the {source.split} split has {members} images; expected 1..{members}"
        )
    return Plan(split=source.split, order=permutation(members, seed, source.split), num_shards=num_shards)


def usual_num_shards(split: str, images: int) -> int:
    """1000 for a (nearly) whole official training set, else one for every 1,260 images."""
    official = split == "train" and images >= OFFICIAL_TRAIN_MEMBERS
    return OFFICIAL_TRAIN_SHARDS if official else -(-images // MEMBERS_A_SHARD)


def permutation(length: int, seed: int, stream: str) -> npt.NDArray[np.int64]:
    """(length,) int64 permutation that `seed` and `stream` determine for ever.

    Sorting by splitmix64 of the position, keyed by a hash: numpy promises no stable stream for its own shuffles, and
    the same seed must give the same shards after an upgrade.
    """
    key = int.from_bytes(hashlib.sha256(f"{seed}/{stream}".encode()).digest()[:8], "little")
    with np.errstate(over="ignore"):
        mixed = np.arange(length, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return np.argsort(mixed, kind="stable")
