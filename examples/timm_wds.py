# /// script
# requires-python = ">=3.11"
# dependencies = ["timm==1.0.31", "webdataset==1.0.2", "torch==2.14.1", "torchvision==0.29.1", "pillow==13.0.0"]
# [tool.clients]
# venv = "torchvision"
# ///
"""timm: its `wds/` reader, by the split's name in _info.json."""

import sys

from timm.data import create_dataset

data = create_dataset("wds/", root=f"{sys.argv[1]}/shards", split="train", is_training=False, batch_size=8)
labels = [label for image, label in data]
print(len(labels), sum(labels))
