# /// script
# requires-python = ">=3.11"
# dependencies = ["alexnet-replication[pillow]", "spdl==0.8.0"]
# [tool.clients]
# venv = "torch"
# ///
"""SPDL: batches of row numbers through ShardDataset in two threads."""

import sys

from spdl.pipeline import PipelineBuilder

from alexnet_stream import ShardDataset

dataset = ShardDataset([f"{sys.argv[1]}/shards/train-*.tar"])
batches = [range(start, min(start + 8, len(dataset))) for start in range(0, len(dataset), 8)]
builder = PipelineBuilder().add_source(batches).pipe(dataset.__getitems__, concurrency=2).add_sink(4)
pipeline = builder.build(num_threads=2)
with pipeline.auto_stop():
    labels = [label for samples in pipeline for image_hwc, label in samples]
print(len(labels), sum(labels))
