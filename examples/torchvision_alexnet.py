# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.14.1", "torchvision==0.29.1", "pillow==13.0.0"]
# [tool.clients]
# venv = "torchvision"
# ///
"""torchvision: the file that `alexnet-export --to torchvision` writes, in torchvision.models.alexnet."""

import sys

import torch
from torchvision.models import alexnet

state = torch.load(f"{sys.argv[1]}/alexnet-torchvision.pth", weights_only=True)
network = alexnet(num_classes=len(state["classifier.6.bias"])).eval()
network.load_state_dict(state)
with torch.inference_mode():
    logits = network(torch.zeros(2, 3, 224, 224))
assert bool(logits.isfinite().all())
print(f"ok: {sum(value.numel() for value in state.values()):,} weights load, logits {tuple(logits.shape)}")
