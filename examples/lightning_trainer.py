# /// script
# requires-python = ">=3.11"
# dependencies = ["alexnet-replication[pillow]", "lightning==2.6.6"]
# [tool.clients]
# venv = "torch"
# ///
"""Lightning Trainer: Stream as the training loader; its place is in Lightning's checkpoints."""

import logging
import sys
import warnings

import lightning
import torch

from alexnet_stream import Stream, StreamConfig, open_shards

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.simplefilter("ignore")
labels = []


class Module(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 10)

    def training_step(self, batch, _):
        labels.extend(batch.labels.tolist())
        means = batch.images_nhwc.float().mean((1, 2)) / 255
        return torch.nn.functional.cross_entropy(self.layer(means), batch.labels)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


with Stream(open_shards([f"{sys.argv[1]}/shards/train-*.tar"]), StreamConfig(batch_size=8, seed=0)) as stream:
    options = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    lightning.Trainer(max_epochs=1, accelerator="cpu", **options).fit(Module(), stream)
print(len(labels), sum(labels))
