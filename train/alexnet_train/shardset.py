"""Shards as the trainer opens them: local or remote."""

from alexnet_shards.shardset import ShardSet, check_stats
from alexnet_train.remote import open_any_shards as open_shards

__all__ = ["ShardSet", "check_stats", "open_shards"]
