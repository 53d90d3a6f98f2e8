"""Whole steps and runs on the GPU against the same on the CPU, from shards to checkpoints."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from alexnet_command.progress import Progress
from alexnet_network import DeviceStats, InputConfig
from alexnet_shards.shardset import open_shards
from alexnet_shards.stats import Stats
from alexnet_stream import Batch, Stream, StreamConfig
from alexnet_train.checkpoint import load_checkpoint, save_checkpoint
from alexnet_train.distributed import World, averaged
from alexnet_train.evaluate import EvalConfig, classifier_of, evaluate
from alexnet_train.loop import fit
from alexnet_train.metrics import read_metrics
from alexnet_train.recipe import load_recipe
from alexnet_train.records import Records
from alexnet_train.runconfig import RunConfig
from alexnet_train.stepper import Schedule, Stepper

pytestmark = pytest.mark.cuda
Near = Callable[[Tensor, Tensor, float, str], None]
Draw = Callable[[Path], str]
CPU = torch.device("cpu")
SMALL = ("width=0.125", "num_classes=7", "batch_size=8", "dropout=0.0", "log_every_steps=100", "epochs=2")


def batch(seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return Batch(
        images_nhwc=torch.randint(0, 256, (8, 224, 224, 3), dtype=torch.uint8, generator=generator),
        labels=torch.arange(8) % 7,
        rows=torch.arange(8),
        flip=torch.tensor([True, False] * 4),
        noise_z=torch.randn(8, 3, generator=generator),
        valid=torch.ones(8, dtype=torch.bool),
    )


def stepper_on(where: torch.device, stats: Stats, *settings: str, state: dict[str, Any] | None = None) -> Stepper:
    recipe = load_recipe("released", (*SMALL, *settings))
    schedule = Schedule(optim=recipe.optim, steps_per_epoch=10, records=Records(None))
    one = Stepper(recipe, stats, World(device=where), schedule, state=state)
    one.begin(0)
    return one


def mean_loss(one: Stepper, steps: range) -> float:
    """Over these steps."""
    one.end_epoch()
    for step in steps:
        one.take(batch(step).to(next(one.evaluated.parameters()).device), 0)
    return one.epoch_means()["train_loss"]


@pytest.mark.parametrize(
    ("settings", "tolerance"),
    [
        ((), 1e-3),
        (("tf32=true",), 5e-3),  # 10 bits of each factor
        (("micro_batch_size=3",), 1e-3),
        (("average_decay=0.9", "clip_norm=1.0"), 1e-3),
        (("precision=bfloat16",), 3e-2),  # 8 bits
        (("precision=float16",), 1e-2),
        (("deterministic=true",), 1e-3),
    ],
    ids=str,
)
def test_five_steps(device: torch.device, stats: Stats, settings: tuple[str, ...], tolerance: float) -> None:
    """The mean loss of five updates, relative to that of float32 on the CPU."""
    expected = mean_loss(stepper_on(CPU, stats), range(5))
    words = tuple(word for word in settings if not word.startswith("clip"))
    assert mean_loss(stepper_on(device, stats, *words), range(5)) == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("settings", [("compile=true",), ("compile=true", "cuda_graphs=true")], ids=str)
def test_compiled_steps(device: torch.device, stats: Stats, settings: tuple[str, ...]) -> None:
    """From bytes to losses in one graph, twice over (a phase with colour noise and one without): 1e-3 of the CPU's loss."""
    if device.type == "cpu":
        pytest.skip("a rehearsal compiles nothing: tests/train/test_batchloss.py does on the CPU")
    if shutil.which("gcc") is None and shutil.which("cc") is None:
        pytest.skip("no C compiler, which torch.compile needs")
    one, other = stepper_on(device, stats, *settings), stepper_on(CPU, stats)
    assert mean_loss(one, range(6)) == pytest.approx(mean_loss(other, range(6)), rel=1e-3)


def test_float16_leaves_out_a_step_that_overflows(device: torch.device, stats: Stats) -> None:
    one = stepper_on(device, stats, "precision=float16")
    mean_loss(one, range(2))
    updater = one._updater
    before = {name: tensor.clone() for name, tensor in updater.model.state_dict().items()}
    scale = updater.scaler.get_scale()
    updater.losses(batch().to(device), 2, InputConfig())
    next(updater.model.parameters()).grad.fill_(float("inf"))
    updater.apply()
    assert all(torch.equal(before[name], tensor) for name, tensor in updater.model.state_dict().items())
    assert updater.scaler.get_scale() == scale / 2


def test_checkpoints_go_from_device_to_device(device: torch.device, stats: Stats, near: Near, tmp_path: Path) -> None:
    """CPU, GPU, CPU, two steps on each: the numbers of a file are those that were saved, bit for bit, and the run goes on
    as one that stayed on the CPU (1e-3 of the largest weight)."""
    stayed = stepper_on(CPU, stats, "average_decay=0.9")
    mean_loss(stayed, range(6))
    state, one = None, stayed
    for number, where in enumerate((CPU, device, CPU)):
        one = stepper_on(where, stats, "average_decay=0.9", state=state)
        mean_loss(one, range(2 * number, 2 * number + 2))
        facts = {"recipe": asdict(one.recipe), "classes": [], "words": [], "epoch": 0, "stream": {}, "shards": ""}
        path = tmp_path / f"step-{one.step:08d}.pt"
        save_checkpoint(path, facts | one.state())
        state = load_checkpoint(path)
        for kind in ("model", "average"):
            assert all(torch.equal(state[kind][name], t.cpu()) for name, t in one.state()[kind].items())
    assert one.step == stayed.step == 6
    for (name, mine), other in zip(one.evaluated.named_parameters(), stayed.evaluated.parameters(), strict=True):
        near(mine, other, 1e-3, name)


@contextmanager
def no_waits(device: torch.device) -> Iterator[None]:
    """torch raises where its own calls would make the host wait for the GPU."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(
    "settings",
    [(), ("clip_norm=1.0", "average_decay=0.9", "warmup_epochs=1"), ("precision=float16",), ("micro_batch_size=4",),
     ("precision=bfloat16", "rule=lars")],
    ids=str,
)  # fmt: skip
def test_no_step_between_logs_waits(device: torch.device, stats: Stats, settings: tuple[str, ...]) -> None:
    one, data = stepper_on(device, stats, "dropout=0.5", *settings), batch().to(device)
    one.take(data, 0)
    one.take(data, 0)  # the second of each kind: the first may set things up
    with no_waits(device):
        for _ in range(3):
            one.take(data, 0)


@pytest.mark.parametrize("child_process", [False, True])
def test_batches_arrive_as_they_left(
    device: torch.device, draw_shards: Draw, tmp_path: Path, child_process: bool
) -> None:
    """Through the pinned ring and the copy stream, bit for bit, while the GPU is busy with other work."""
    shards = open_shards([draw_shards(tmp_path)])
    pin = device.type == "cuda"
    config = StreamConfig(batch_size=4, seed=0, pin_memory=pin, child_process=child_process, last="pad")
    side = 4096 if pin else 16
    busy = torch.randn(side, side, device=device)

    def seen(where: torch.device) -> list[dict[str, Tensor]]:
        found = []
        with Stream(shards, config) as stream:
            for _ in range(3):
                for one in stream.epoch(where):
                    busy.mm(busy)
                    found.append({name: tensor.clone() for name, tensor in vars(one).items()})
        return [{name: tensor.cpu() for name, tensor in one.items()} for one in found]

    for mine, other in zip(seen(device), seen(CPU), strict=True):
        for name in other:
            assert torch.equal(mine[name], other[name]), name


def test_a_run_and_its_evaluation(device: torch.device, draw_shards: Draw, tmp_path: Path) -> None:
    """Two epochs by `fit`: losses of the CPU's run within 1e-2, and ten-view errors of one checkpoint that are the same."""
    pattern = draw_shards(tmp_path)
    losses: dict[str, list[float]] = {}
    recipe = load_recipe("released", (*SMALL, "log_every_steps=1", "learning_rate=0.001"))
    for where in (device, CPU):
        out = tmp_path / f"run-{where.type}-{len(losses)}"
        run = RunConfig(
            recipe=recipe, shards=[pattern], val_shards=(), stats=None, out_dir=out, world=World(device=where)
        )
        with Progress("train", "steps", quiet=True) as progress:
            record = fit(run, progress)
        lines = read_metrics(out / "metrics.jsonl")
        losses[out.name] = [line["train_loss"] for line in lines if line["kind"] == "step"]
    mine, other = losses.values()
    assert len(mine) == 10
    assert mine == pytest.approx(other, rel=1e-2)
    content, val = load_checkpoint(Path(record["checkpoint"])), open_shards([f"{tmp_path}/val-*.tar"])
    results = [
        evaluate(
            [classifier_of(content, "", where)], val, EvalConfig(views=10, batch_size=5, world=World(device=where))
        )
        for where in (device, CPU)
    ]
    assert (results[0].images, results[0].top1_wrong) == (13, results[1].top1_wrong)
    assert results[0].loss == pytest.approx(results[1].loss, rel=1e-3)


def test_one_process_of_nccl(device: torch.device, stats: Stats, near: Near) -> None:
    """Sums, and gradients through DistributedDataParallel as several processes have them: those without it (1e-5)."""
    nccl = device.type == "cuda"
    if nccl and not dist.is_nccl_available():
        pytest.skip("this torch has no NCCL")
    os.environ.setdefault("NCCL_IB_DISABLE", "1")  # one process has no need of a network
    store = dist.HashStore()  # type: ignore[attr-defined]
    dist.init_process_group("nccl" if nccl else "gloo", store=store, rank=0, world_size=1)
    try:
        ones = torch.ones(3, device=device)
        dist.all_reduce(ones)
        assert ones.tolist() == [1.0] * 3
        gradients = []
        for wrapped in (True, False):
            updater = stepper_on(device, stats)._updater
            if wrapped:
                updater.network = averaged(updater.batch_loss, device)
            updater.losses(batch().to(device), 0, InputConfig())
            gradients.append({name: p.grad for name, p in updater.model.named_parameters()})
        for name, expected in gradients[1].items():
            near(gradients[0][name], expected, 1e-5, name)
    finally:
        dist.destroy_process_group()


def test_statistics_are_the_same_bit_for_bit(device: torch.device, stats: Stats) -> None:
    for name, tensor in vars(DeviceStats.from_stats(stats, device)).items():
        assert torch.equal(tensor.cpu(), getattr(DeviceStats.from_stats(stats), name)), name
