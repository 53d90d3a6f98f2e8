# /// script
# requires-python = ">=3.11"
# dependencies = ["alexnet-replication[pillow]", "grain==0.2.18"]
# [tool.clients]
# venv = "torch"
# ///
"""Grain: ShardDataset is a RandomAccessDataSource; a global shuffle."""

import sys

import grain

from alexnet_stream import ShardDataset

source = ShardDataset([f"{sys.argv[1]}/shards/train-*.tar"])
data = grain.MapDataset.source(source).shuffle(seed=1).batch(8, drop_remainder=False)
labels = [int(label) for images_nhwc, batch in data for label in batch]
print(len(labels), sum(labels))
