"""What several commands share: options, the names that options offer, how results are shown; all without torch."""

import os
from collections.abc import Mapping
from typing import Any

import click

from alexnet_command.options import PATH, Group
from alexnet_command.printing import show, show_json

# Names that options offer; their homes (recipe, export, importer) import torch.
DEFAULT_RECIPE = "released"
FORMATS = ("onnx", "safetensors", "torchvision")
INPUT_SIDES = ("256", "224", "227")
SOURCES = ("caffe", "torchvision")
ORDERS = ("lrn-pool", "pool-lrn")
AVERAGES = ("probabilities", "logits")
TRACKERS = ("csv", "tensorboard", "wandb")

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
AVERAGE = click.option(
    "--average",
    type=click.Choice(AVERAGES),
    default=AVERAGES[0],
    help="What is averaged over views and checkpoints: logits as some replications do, not the paper.",
)
TRACK = click.option(
    "--track",
    "trackers",
    multiple=True,
    type=click.Choice(TRACKERS),
    help="Where the metrics go too: CSV files, TensorBoard, Weights & Biases.",
)
TENSORBOARD = click.option("--tensorboard", is_flag=True, help="The same as --track tensorboard.")

HTML = click.option(
    "--html",
    metavar="[FILE]",
    is_flag=False,
    flag_value="",
    help="Also write a page of pictures (extra report).  [FILE: evaluation.html in the run, of photos predictions.html]",
)


def port_number(text: str) -> int:
    """A port of TCP: a type of options."""
    number = int(text)
    if not 0 <= number <= 65535:
        raise ValueError
    return number


SERVE = click.option(
    "--serve",
    metavar="[PORT]",
    type=port_number,
    is_flag=False,
    flag_value="8042",
    help="Show the run's page while it trains, at http://127.0.0.1:PORT, 8042 where silent, 0 for any.",
)
SERVE_HOST = click.option(
    "--serve-host",
    metavar="HOST",
    default="127.0.0.1",
    help="Show it to other machines too, as 0.0.0.0; the address then holds a token.",
)


def chosen_trackers(options: Mapping[str, Any]) -> tuple[str, ...]:
    """The names that --track and --tensorboard say, each once."""
    return tuple(dict.fromkeys([*options["trackers"], *(["tensorboard"] if options["tensorboard"] else [])]))


def show_result(options: Mapping[str, Any], content: Any) -> None:
    """A command's result to stdout: as JSON, or as lines."""
    from alexnet_train.report import result_lines

    if options["as_json"]:
        show_json(content)
    else:
        show(result_lines(content))


class TrainGroup(Group):
    """Train where no command is named: `torchrun -m alexnet_train.cli --shards …` trains."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `train` in front of options that are not this group's own."""
        named = args and (args[0] in self.commands or args[0] in ("-h", "--help", "--version"))
        return super().parse_args(ctx, args if named else ["train", *args])
