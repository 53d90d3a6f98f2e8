"""What a GPU makes of training: floors, the step alone, the stream alone, both together, and hours of the whole run.

    python benchmarks/gpu.py [--data 'shards/train-*.tar'] [--seconds 210]
    python benchmarks/gpu.py --device cpu --quick

Floors come first: what the network's products would take at the rate of a large matrix product measured here, and what
its bytes would take at the rate of a copy from page-locked memory measured here. Then steps of whole recipes on one batch
that is there, most telling ones first until the time is up, beside the same network of stock torch parts and torchvision's
AlexNet; the stream with all cores; and both together. The result is printed, and written to benchmarks/results/.
"""

import argparse
import datetime
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from alexnet_network import AlexNet, DeviceStats, autocast, layer_costs, rates_at, set_rates, set_switches
from alexnet_shards.shardset import ShardSet, open_shards
from alexnet_stream import Batch, Stream, StreamConfig
from alexnet_train.distributed import World
from alexnet_train.recipe import load_recipe
from alexnet_train.update import Updater

ROOT = Path(__file__).parents[1]
EPOCHS, IMAGES = 93, 1_261_406
CLASSES = 1000
MODES = {
    "eager": ("compile=false", "cuda_graphs=false"),
    "compiled": ("compile=true", "cuda_graphs=false"),
    "one graph": ("compile=true", "cuda_graphs=true"),
}
# (recipe or peer, mode, batch): the most telling first, as compiling takes its time.
PLAN = (
    ("fast", "eager", 1024), ("fast", "compiled", 1024), ("released", "eager", 128), ("fast", "one graph", 128),
    ("fast", "eager", 128), ("stock", "eager", 1024), ("torchvision", "eager", 1024), ("paper", "eager", 128),
    ("fast", "eager", 4096), ("stock", "eager", 128), ("torchvision", "eager", 128), ("released", "eager", 1024),
    ("paper", "eager", 1024), ("released", "compiled", 128), ("fast", "compiled", 4096), ("paper", "compiled", 128),
    ("fast", "compiled", 128), ("released", "eager", 4096), ("fast", "eager", 256), ("fast", "eager", 512),
    ("fast", "eager", 2048), ("released", "one graph", 128), ("fast", "compiled", 2048), ("released", "compiled", 1024),
)  # fmt: skip
PEERS = ("stock", "torchvision")
QUICK_PLAN = (("released", "eager", 4), ("paper", "eager", 4), ("fast", "eager", 8), ("stock", "eager", 1),
              ("torchvision", "eager", 1))  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where and how long is measured; `quick` does everything small, `width` is the factor of all layers."""

    device: torch.device
    quick: bool
    seconds: float

    @property
    def width(self) -> float:
        """A sixteenth where it is quick."""
        return 0.0625 if self.quick else 1.0

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def rate(self, work: Callable[[], object]) -> float:
        """Calls a second, over a second or more after some to warm up (one after one where quick); device time included."""
        for _ in range(1 if self.quick else 3):
            work()
        self.wait()
        calls, begun = 0, time.perf_counter()
        while calls == 0 or time.perf_counter() - begun < (0.0 if self.quick else 1.0):
            for _ in range(1 if self.quick else 10):
                work()
            calls += 1 if self.quick else 10
            self.wait()
        return calls / (time.perf_counter() - begun)


def measured_floors(bench: Bench) -> dict[str, float]:
    """Operations a second of large products by type, bytes a second to the device and on it; what an image then costs."""
    floors: dict[str, float] = {}
    side = 256 if bench.quick else 8192
    for name, dtype in (("float32", torch.float32), ("tf32", torch.float32), ("bfloat16", torch.bfloat16)):
        set_switches(tf32=name == "tf32", deterministic=False)
        a, b = (torch.randn(side, side, device=bench.device, dtype=dtype) for _ in range(2))
        floors[f"{name}_operations_per_second"] = 2 * side**3 * bench.rate(lambda a=a, b=b: a @ b)  # type: ignore[misc]
    size = 1 << (22 if bench.quick else 28)
    host = torch.empty(size, dtype=torch.uint8, pin_memory=bench.device.type == "cuda")
    there = torch.empty(size, dtype=torch.uint8, device=bench.device)
    floors["host_to_device_bytes_per_second"] = size * bench.rate(lambda: there.copy_(host, non_blocking=True))
    other = torch.empty_like(there)
    floors["on_device_bytes_per_second"] = 2 * size * bench.rate(lambda: other.copy_(there))
    costs = layer_costs(AlexNet(load_recipe("released", (f"num_classes={CLASSES}",)).model))
    forward = 2 * sum(cost.multiply_adds for cost in costs)
    # Back come as many for the weights, and for the inputs of all layers but the first.
    floors["operations_an_image"] = 3 * forward - 2 * costs[0].multiply_adds
    for name in ("float32", "tf32", "bfloat16"):
        floors[f"{name}_images_per_second"] = floors[f"{name}_operations_per_second"] / floors["operations_an_image"]
    floors["copied_images_per_second"] = floors["host_to_device_bytes_per_second"] / (224 * 224 * 3)
    return floors


def drawn_batch(size: int, device: torch.device) -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(
        images_nhwc=torch.randint(0, 256, (size, 224, 224, 3), dtype=torch.uint8, generator=generator),
        labels=torch.randint(0, CLASSES, (size,), generator=generator),
        rows=torch.arange(size),
        flip=torch.rand(size, generator=generator) < 0.5,
        noise_z=torch.randn(size, 3, generator=generator),
        valid=torch.ones(size, dtype=torch.bool),
    ).to(device)


def drawn_stats(device: torch.device) -> DeviceStats:
    mean = torch.full((1, 3, 224, 224), 120.0, device=device)
    axes = torch.eye(3, device=device)
    return DeviceStats(mean_nchw=mean, channel_mean_nchw=mean[..., :1, :1], axes_released=axes * 60, axes_paper=axes)


def our_updater(bench: Bench, recipe_name: str, mode: str, batch_size: int) -> Updater:
    words = (f"num_classes={CLASSES}", f"width={bench.width}", f"batch_size={batch_size}", *MODES[mode])
    recipe = load_recipe(recipe_name, words)
    updater = Updater(recipe, drawn_stats(bench.device), World(device=bench.device))
    names = [name for name, _ in updater.model.named_parameters()]
    set_rates(updater.optimizer, {name: rate / 1000 for name, rate in rates_at(recipe.optim, names, 0).items()})
    return updater


def our_step(updater: Updater) -> Callable[[Batch], None]:
    """One whole update, without logs and looks."""
    place = iter(range(1 << 60))

    def step(batch: Batch) -> None:
        updater.losses(batch, next(place), updater.recipe.input)
        updater.apply()

    return step


def torchvisions_alexnet() -> nn.Sequential:
    """torchvision.models.alexnet, written out."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(), nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.AdaptiveAvgPool2d((6, 6)), nn.Flatten(), nn.Dropout(), nn.Linear(9216, 4096), nn.ReLU(),
        nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, CLASSES),
    )  # fmt: skip


def peer_step(bench: Bench, name: str) -> Callable[[Batch], None]:
    """A step as people write it: float32 images, bfloat16 products, torch.optim.SGD, channels_last; no colour noise."""
    sys.path.insert(0, str(ROOT))
    from benchmarks.step import stock_network

    network = stock_network(load_recipe("released").model) if name == "stock" else torchvisions_alexnet()
    network = network.to(device=bench.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    sgd = torch.optim.SGD(network.parameters(), lr=1e-5, momentum=0.9, weight_decay=5e-4)
    set_switches(tf32=True, deterministic=False)

    def step(batch: Batch) -> None:
        x = batch.images_nhwc.permute(0, 3, 1, 2).float().sub_(120.0)
        sgd.zero_grad(set_to_none=True)
        with autocast(bench.device, "bfloat16"):
            loss = functional.cross_entropy(network(x), batch.labels)
        torch.autograd.backward(loss)
        sgd.step()

    return step


def norms_rate(bench: Bench, batch_size: int) -> float:
    """Batches a second of the released network's norms alone, forward and back."""
    model = our_updater(bench, "fast", "eager", batch_size).model
    places: list[tuple[nn.Module, Tensor]] = []
    for stage, layer, side_px in ((model.after_conv1, model.conv1, 55), (model.after_conv2, model.conv2, 27)):
        for norm in stage:
            if not isinstance(norm, nn.ReLU | nn.MaxPool2d):
                x = torch.randn(batch_size, layer.out_channels, side_px, side_px, device=bench.device)
                x = x.to(dtype=torch.bfloat16, memory_format=torch.channels_last)
                places.append((norm, x.requires_grad_()))

    def norms() -> None:
        for norm, x in places:
            y = norm(x)
            torch.autograd.grad(y, x, torch.ones_like(y))

    return bench.rate(norms)


def gaps(bench: Bench, work: Callable[[], object], steps: int = 10) -> dict[str, float]:
    """Of some steps' time on the device the share in which no kernel ran, and kernels a step; nothing without a GPU."""
    if bench.device.type != "cuda":
        return {}
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as profiled:
        for _ in range(steps):
            work()
        bench.wait()
    cuda: Any = torch._C._autograd.DeviceType.CUDA
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in profiled.events() or ()
        if event.device_type == cuda and not event.is_user_annotation
    )
    busy, reached = 0.0, float("-inf")
    for begin, end in spans:
        busy += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    whole = reached - spans[0][0] if spans else 1.0
    return {"idle_share": 1 - busy / whole, "kernels_a_step": len(spans) / steps}


def step_row(bench: Bench, name: str, mode: str, batch_size: int) -> dict[str, Any]:
    """Images a second of one kind of step; why there are none where the device's memory is short."""
    row: dict[str, Any] = {"name": name, "mode": mode, "batch_size": batch_size}
    cuda = bench.device.type == "cuda"
    try:
        if cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        step = peer_step(bench, name) if name in PEERS else our_step(our_updater(bench, name, mode, batch_size))
        batch = drawn_batch(batch_size, bench.device)
        row["images_per_second"] = batch_size * bench.rate(lambda: step(batch))
        row |= gaps(bench, lambda: step(batch))
        if cuda:
            row["peak_memory_bytes"] = torch.cuda.max_memory_allocated()
    except torch.OutOfMemoryError:
        row["failed"] = "out of memory"
    except RuntimeError as error:  # one kind of step that this machine cannot do must not cost the others' figures
        row["failed"] = str(error).partition("\n")[0][:200]
    return row


def step_rows(bench: Bench, deadline: float) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows of the plan until `deadline` (time.monotonic), and what was left out."""
    rows, left = [], []
    for name, mode, batch_size in QUICK_PLAN if bench.quick else PLAN:
        if time.monotonic() > deadline:
            left.append(f"{name}, {mode}, {batch_size}")
            continue
        rows.append(step_row(bench, name, mode, batch_size))
        tell(rows[-1])
    return rows, left


def tell(row: dict[str, Any]) -> None:
    figures = ", ".join(f"{key} {value:,.3g}" if isinstance(value, float) else str(value) for key, value in row.items())
    print(figures, file=sys.stderr, flush=True)


@contextmanager
def shards_of(data: str | None, count: int) -> Iterator[ShardSet]:
    """The shards at a pattern, or `count` drawn photos of usual size, of which 100 differ."""
    if data is not None:
        yield open_shards([data])
        return
    import simplejpeg

    from alexnet_shards.index import save_index
    from alexnet_shards.manifest import ClassFact, Manifest, index_path, manifest_path, save_manifest
    from alexnet_shards.scan import scan_shards
    from alexnet_shards.tar import END_OF_TAR, member_bytes

    rng = np.random.default_rng(0)
    jpegs = []
    for _ in range(100):
        coarse = np.kron(rng.integers(0, 200, (32, 32, 3)), np.ones((8, 8, 1)))
        image_hwc = (coarse + rng.normal(28, 9, (256, 256, 3))).clip(0, 255).astype(np.uint8)
        jpegs.append(simplejpeg.encode_jpeg(np.ascontiguousarray(image_hwc), 90))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        content = b"".join(
            member_bytes(f"d{number:06d}.jpg", jpegs[number % 100]) + member_bytes(f"d{number:06d}.cls", b"0")
            for number in range(count)
        )
        (folder / "train-000.tar").write_bytes(content + END_OF_TAR)
        scanned = scan_shards([folder / "train-000.tar"])
        sha256 = save_index(index_path(folder, "train"), scanned.rows)
        manifest = Manifest(split="train", classes=(ClassFact(wnid="n0"),), shards=scanned.facts, index_sha256=sha256)
        save_manifest(manifest_path(folder, "train"), manifest)
        yield open_shards([f"{folder}/train-*.tar"])


def stream_figures(
    bench: Bench, shards: ShardSet, batch_size: int, step: Callable[[Batch], None] | None
) -> dict[str, float]:
    """Images a second over some seconds of epochs, on the device, through `step` if there is one; the share that waited."""
    config = StreamConfig(batch_size=batch_size, seed=0, pin_memory=bench.device.type == "cuda")
    images, waited = 0, 0.0
    with Stream(shards, config) as stream:
        begun, seconds = 0.0, 0.3 if bench.quick else 10.0
        for number in range(1 << 60):
            batches = stream.epoch(bench.device)
            while True:
                asked = time.perf_counter()
                batch = next(batches, None)
                if batch is None:
                    break
                if begun:
                    waited += time.perf_counter() - asked
                    images += batch_size
                if step is not None:
                    step(batch)
            if number == 0:  # the first epoch warms up
                bench.wait()
                begun = time.perf_counter()
            elif time.perf_counter() - begun > seconds:
                break
        bench.wait()
        whole = time.perf_counter() - begun
    return {"images_per_second": images / whole, "waiting_share": waited / whole}


def hours(images_per_second: float) -> float:
    """Of the whole run."""
    return EPOCHS * IMAGES / images_per_second / 3600


def measured(bench: Bench, data: str | None) -> dict[str, Any]:
    begun = time.monotonic()
    floors = measured_floors(bench)
    tell(floors)
    size = 8 if bench.quick else 1024
    with shards_of(data, 48 if bench.quick else 8192) as shards:
        stream = stream_figures(bench, shards, size, None)
        tell({"name": "stream", **stream})
        both = stream_figures(bench, shards, size, our_step(our_updater(bench, "fast", "eager", size)))
        tell({"name": "both", **both})
    norms = size * norms_rate(bench, size)
    rows, left = step_rows(bench, begun + bench.seconds * 0.85)
    ours = [row for row in rows if "images_per_second" in row and row["name"] not in PEERS]
    best = max((row["images_per_second"] for row in ours), default=float("nan"))
    same = [row for row in ours if (row["name"], row["mode"], row["batch_size"]) == ("fast", "eager", size)]
    return {
        "floors": floors,
        "steps": rows,
        "not_measured": left,
        "stream": stream,
        "both": both,
        "norms_share_of_step": same[0]["images_per_second"] / norms if same else None,
        "hours_of_93_epochs": {"best step alone": hours(best), "both": hours(both["images_per_second"])},
        "seconds": time.monotonic() - begun,
    }  # fmt: skip


def hardware(device: torch.device) -> dict[str, Any]:
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {"gpu": gpu, "cpu": platform.processor() or platform.machine(), "cores": len(os.sched_getaffinity(0))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--quick", action="store_true", help="everything small: whether it works, no figures")
    parser.add_argument("--seconds", type=float, default=210.0, help="no new kind of step begins after most of them")
    parser.add_argument("--data", help="pattern of training shards; without it photos are drawn")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    words = parser.parse_args()
    if words.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device: nothing was measured")
        return
    bench = Bench(device=torch.device(words.device), quick=words.quick, seconds=words.seconds)
    versions = {"python": platform.python_version(), "torch": torch.__version__, "cuda": torch.version.cuda}
    about = {"command": " ".join(sys.argv), "hardware": hardware(bench.device), "versions": versions}
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    result = {"date": day, **about, "quick": words.quick, **measured(bench, words.data)}
    words.out.mkdir(parents=True, exist_ok=True)
    (words.out / f"{day}-gpu.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
