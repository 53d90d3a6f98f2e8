# /// script
# requires-python = ">=3.11"
# dependencies = ["datasets==5.2.0", "alexnet-replication[pillow]"]
# [tool.clients]
# venv = "huggingface"
# ///
"""Hugging Face datasets: its webdataset builder, labels as a ClassLabel with the words of the class list."""

import sys

import datasets

from alexnet_stream import class_names, open_shards

shards = open_shards([f"{sys.argv[1]}/shards/train-*.tar"])
files = {"train": list(shards.paths)}
data = datasets.load_dataset("webdataset", data_files=files, split="train", cache_dir=f"{sys.argv[1]}/hf")
data = data.cast_column("cls", datasets.ClassLabel(names=class_names(shards)))
labels = data["cls"][:]
assert data.features["cls"].int2str(labels[0]) == class_names(shards)[labels[0]]
assert data[0]["jpg"].size == (256, 256)
print(len(labels), sum(labels))
