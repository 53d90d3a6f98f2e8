"""What it costs two processes to tell each other of signals: a step with the exchange of flags, beside one without.

    python benchmarks/exchange.py

Over gloo on the CPU, a quarter of the released network's width, batches of 16 together; steps of both kinds in turns,
medians.
"""

import json
import os
import statistics
import subprocess
import sys
import time

import torch

from alexnet_network import DeviceStats
from alexnet_stream import Batch
from alexnet_train.distributed import World, join_world
from alexnet_train.recipe import load_recipe
from alexnet_train.update import Updater

STEPS, PART = 40, 8
WORKER = "--worker"


def seconds_of_steps(world: World) -> dict[bool, list[float]]:
    """Of each step, by whether it exchanged flags; the first of each kind warm up."""
    recipe = load_recipe("released", ("num_classes=1000", "width=0.25", f"batch_size={world.size * PART}"))
    axes = torch.eye(3)
    mean = torch.full((1, 3, 224, 224), 120.0)
    stats = DeviceStats(mean_nchw=mean, channel_mean_nchw=mean[..., :1, :1], axes_released=axes, axes_paper=axes)
    updater, exchange = Updater(recipe, stats, world), world.exchange()
    batch = Batch(
        images_nhwc=torch.randint(0, 256, (PART, 224, 224, 3), dtype=torch.uint8),
        labels=torch.arange(PART),
        rows=torch.arange(PART),
        flip=torch.zeros(PART, dtype=torch.bool),
        noise_z=torch.zeros(PART, 3),
        valid=torch.ones(PART, dtype=torch.bool),
    )
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for number in range(2 * STEPS + 4):
        begun, exchanging = time.perf_counter(), number % 2 == 0
        updater.losses(batch, number, recipe.input)
        updater.apply()
        if exchanging:
            exchange.take()
            exchange.send([False] * 3)
        seconds[exchanging].append(time.perf_counter() - begun)
    exchange.take()
    return {kind: found[2:] for kind, found in seconds.items()}


def work() -> None:
    """One of the processes; the first prints what it measured."""
    with join_world("cpu") as world:
        seconds = seconds_of_steps(world)
        if world.is_main:
            with_flags, without = (statistics.median(seconds[kind]) for kind in (True, False))
            versions = {"torch": torch.__version__}
            ratios = {"step_with_flags_over_without": with_flags / without}
            print(json.dumps({"ratios": ratios, "rows": [{"name": "step", "seconds": without}], "versions": versions}))


def main() -> int:
    if WORKER in sys.argv:
        work()
        return 0
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run([*launcher, __file__, WORKER], check=False, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
