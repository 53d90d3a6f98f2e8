# /// script
# requires-python = ">=3.11"
# dependencies = ["alexnet-replication[pillow]", "webdataset==1.0.2"]
# [tool.clients]
# venv = "torch"
# ///
"""webdataset: IndexedSamples in front of its stages, a shuffle over all samples, checked, each once."""

import sys

import webdataset

from alexnet_stream.indexed import IndexedSamples

stage = IndexedSamples(f"{sys.argv[1]}/shards/train-*.tar", seed=0)
pipeline = webdataset.DataPipeline(stage, webdataset.decode("rgb8"), webdataset.to_tuple("jpg", "cls"))
labels = [label for image_hwc, label in webdataset.WebLoader(pipeline, batch_size=None, num_workers=2)]
print(len(labels), sum(labels))
