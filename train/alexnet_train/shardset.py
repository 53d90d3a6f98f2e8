"""Moved to alexnet_shards.shardset, which prep uses too; import it from there."""

from alexnet_shards.shardset import ShardSet, check_stats, open_shards

__all__ = ["ShardSet", "check_stats", "open_shards"]
