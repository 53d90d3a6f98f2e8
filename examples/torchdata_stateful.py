# /// script
# requires-python = ">=3.11"
# dependencies = ["alexnet-replication[pillow]", "torchdata==0.11.0"]
# [tool.clients]
# venv = "torch"
# ///
"""torchdata StatefulDataLoader: Stream, left after two batches and resumed by another loader."""

import sys

from torchdata.stateful_dataloader import StatefulDataLoader

from alexnet_stream import Stream, StreamConfig, open_shards

shards = open_shards([f"{sys.argv[1]}/shards/train-*.tar"])
config = StreamConfig(batch_size=8, seed=0)
with Stream(shards, config) as stream:
    loader = StatefulDataLoader(stream, batch_size=None)
    batches = iter(loader)
    labels = [label for _ in range(2) for label in next(batches).labels.tolist()]
    state = loader.state_dict()
with Stream(shards, config) as stream:
    loader = StatefulDataLoader(stream, batch_size=None)
    loader.load_state_dict(state)
    labels += [label for batch in loader for label in batch.labels.tolist()]
print(len(labels), sum(labels))
