# /// script
# requires-python = ">=3.11"
# dependencies = ["wids==0.1.11", "alexnet-replication[pillow]"]
# [tool.clients]
# venv = "torch"
# ///
"""wids: the list that `alexnet-prep index --for wids` writes."""

import sys

import wids

samples = wids.ShardListDataset(f"{sys.argv[1]}/shards/train.wids.json", cache_dir=f"{sys.argv[1]}/wids", keep=True)
labels = [samples[number][".cls"] for number in range(len(samples))]
print(len(labels), sum(labels))
