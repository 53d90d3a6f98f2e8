# /// script
# requires-python = ">=3.11"
# dependencies = ["alexnet-replication[pillow]", "webdataset==1.0.2"]
# [tool.clients]
# venv = "torch"
# ///
"""webdataset: its own stages in one call, split by two workers, decoded, with the class list."""

import sys

from torch.utils.data import DataLoader

from alexnet_stream import open_shards, webdataset_pipeline

pipeline = webdataset_pipeline(open_shards([f"{sys.argv[1]}/shards/train-*.tar"]), shuffle=100)
labels = [sample["cls"] for sample in DataLoader(pipeline, batch_size=None, num_workers=2)]
print(len(labels), sum(labels))
