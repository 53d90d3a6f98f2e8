# /// script
# requires-python = ">=3.11"
# dependencies = ["transformers==5.23.0", "accelerate==1.15.0", "alexnet-replication[pillow]"]
# [tool.clients]
# venv = "huggingface"
# ///
"""Hugging Face Trainer: ShardDataset and a collator; one epoch."""

import sys

import torch
from transformers import Trainer, TrainingArguments

from alexnet_stream import ShardDataset

labels = []


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 10)

    def forward(self, pixel_values, labels):
        logits = self.layer(pixel_values.float().mean((2, 3)) / 255)
        return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}


def collate(samples):
    labels.extend(label for _, label in samples)
    return {
        "pixel_values": torch.stack([image for image, _ in samples]),
        "labels": torch.tensor([y for _, y in samples]),
    }


dataset = ShardDataset([f"{sys.argv[1]}/shards/train-*.tar"], as_torch=True)
arguments = TrainingArguments(
    output_dir=f"{sys.argv[1]}/trainer",
    num_train_epochs=1,
    per_device_train_batch_size=8,
    remove_unused_columns=False,
    save_strategy="no",
    report_to=[],
    use_cpu=True,
    disable_tqdm=True,
)
Trainer(Network(), arguments, train_dataset=dataset, data_collator=collate).train()
print(len(labels), sum(labels))
