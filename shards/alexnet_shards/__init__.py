"""The shard directory's contract, shared by alexnet_prep (writes) and alexnet_train (reads)."""
