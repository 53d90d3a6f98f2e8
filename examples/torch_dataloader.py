# /// script
# requires-python = ">=3.11"
# dependencies = ["alexnet-replication[pillow]"]
# [tool.clients]
# venv = "torch"
# ///
"""torch DataLoader: ShardDataset, two workers, every sample once."""

import sys

from torch.utils.data import DataLoader

from alexnet_stream import ShardDataset

dataset = ShardDataset([f"{sys.argv[1]}/shards/train-*.tar"], as_torch=True)
loader = DataLoader(dataset, batch_size=32, shuffle=True, num_workers=2)
labels = [label for images_nchw, batch in loader for label in batch.tolist()]
print(len(labels), sum(labels))
