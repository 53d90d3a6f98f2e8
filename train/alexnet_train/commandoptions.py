"""Options that several commands share, and the names that options offer: known without torch, so that help comes at once."""

import os

import click

from alexnet_command.options import PATH

# Names that options offer; their homes (recipe, export, importer) import torch.
DEFAULT_RECIPE = "released"
FORMATS = ("onnx", "safetensors", "torchvision")
INPUT_SIDES = ("256", "224", "227")
SOURCES = ("caffe", "torchvision")
ORDERS = ("lrn-pool", "pool-lrn")

VERIFY_CACHE = click.option(
    "--verify-cache",
    is_flag=True,
    expose_value=False,
    callback=lambda context, parameter, value: os.environ.update({"ALEXNET_CACHE_VERIFY": "1"} if value else {}),
    help="Read each cached copy of a remote shard whole before its first use.",
)
CHECKPOINT = click.option(
    "--checkpoint",
    metavar="FILE",
    required=True,
    type=PATH,
    help="A file of RUN/checkpoints, or RUN: its best.",
)
VIEWS = click.option("--views", type=click.Choice(["1", "10"]), default="10", help="Crops of each image.")
