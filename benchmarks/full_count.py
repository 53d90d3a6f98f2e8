"""ILSVRC-2010's full count under its official names: time and memory of every step, one start killed in the middle.

Draws 1,261,406 + 50,000 + 150,000 small photos with the devkit's own class counts, then runs shards (killed with half of
the training shards there, and started again), compute-stats, verify, the report as a page, opening, the first batch. About
12 GB of disk.
"""

import argparse
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg

from alexnet_drawn.tarwrite import end_tar, write_member
from alexnet_prep.devkit import Devkit, read_devkit
from alexnet_shards.editions import EDITIONS

EDITION = EDITIONS["2010"]
FULL = {"val": 50_000, "test": 150_000}
PHOTO_PX, PHOTOS = (40, 52), 64
PREP = [sys.executable, "-m", "alexnet_prep.cli"]
OPENING = """
import json, sys, time
from alexnet_shards.shardset import open_shards
from alexnet_stream.stream import Stream, StreamConfig
started = time.perf_counter()
shards = open_shards([sys.argv[1]])
opened = time.perf_counter()
with Stream(shards, StreamConfig(batch_size=128, seed=1)) as stream:
    next(stream.epoch())
    print(json.dumps([opened - started, time.perf_counter() - opened, shards.num_samples]))
"""


def photos() -> list[bytes]:
    """Small smooth JPEGs, as unlike as two colours make them."""
    rng, found = np.random.default_rng(0), []
    ramp = np.linspace(0, 1, PHOTO_PX[1])[None, :, None]
    for _ in range(PHOTOS):
        left, right = rng.integers(0, 256, (2, 1, 1, 3))
        image = np.broadcast_to(left * (1 - ramp) + right * ramp, (*PHOTO_PX, 3)).astype(np.uint8)
        found.append(simplejpeg.encode_jpeg(np.ascontiguousarray(image), 85))
    return found


def counts(devkit: Devkit, images: int | None) -> tuple[list[int], dict[str, int]]:
    """(images a class, images of val and test): the official ones, or the same shares of `images` in all."""
    official = [fact.num_train_images for fact in devkit.classes]
    share = 1.0 if images is None else images / (sum(official) + sum(FULL.values()))
    return [max(1, round(share * count)) for count in official], {
        split: max(1, round(share * count)) for split, count in FULL.items()
    }


def write_source(data: Path, out: Path, images: int | None) -> dict[str, int]:
    """The archives, from the devkit and the ground truth in `data`; images a split."""
    out.mkdir(parents=True)
    for name in (EDITION.devkit, EDITION.test_truth):
        shutil.copyfile(data / name, out / name)
    devkit, jpegs = read_devkit(data / EDITION.devkit, "2010"), photos()
    a_class, others = counts(devkit, images)
    with (out / EDITION.train).open("wb") as train:
        written = 0
        for fact, count in zip(devkit.classes, a_class, strict=True):
            inner = io.BytesIO()
            size = sum(
                write_member(inner, f"{fact.wnid}_{place}.JPEG", jpegs[(fact.official_id + place) % PHOTOS])
                for place in range(count)
            )
            end_tar(inner, size)
            written += write_member(train, f"{fact.wnid}.tar", inner.getvalue())
        end_tar(train, written)
    for split, count in others.items():
        with (out / EDITION.name_of(split)).open("wb") as archive:
            names = (f"{split}/ILSVRC2010_{split}_{place:08d}.JPEG" for place in range(1, count + 1))
            end_tar(archive, sum(write_member(archive, name, jpegs[len(name) % PHOTOS]) for name in names))
    if images is not None:  # a truth of as many lines as there are images
        lines = (data / EDITION.test_truth).read_text().splitlines()[: others["test"]]
        (out / EDITION.test_truth).write_text("\n".join(lines) + "\n")
    return {"train": sum(a_class), **others}


def family(root: int) -> Iterator[int]:
    """Process ids of `root` and all below it."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents.setdefault(int(path.read_text().rpartition(")")[2].split()[1]), []).append(int(path.parent.name))
        except OSError:
            continue
    waiting = [root]
    while waiting:
        yield waiting[-1]
        waiting += parents.get(waiting.pop(), [])


class Memory(threading.Thread):
    """The largest resident memory of one process and of all together, looked at twice a second."""

    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self._root, self._ended = root, threading.Event()
        self.largest_mb = self.all_mb = 0.0

    def run(self) -> None:
        while not self._ended.wait(0.5):
            sizes = []
            for pid in family(self._root):
                try:
                    sizes.append(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 1e6)
                except (OSError, IndexError):
                    continue
            self.largest_mb = max(self.largest_mb, *sizes, 0.0)
            self.all_mb = max(self.all_mb, sum(sizes))

    def end(self) -> None:
        self._ended.set()
        self.join()


def step(what: str, command: Sequence[str], until: Any = None) -> tuple[dict[str, Any], str]:
    """Run a command, or kill it once `until()`: (what it took, its stdout)."""
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        memory = Memory(process.pid)
        memory.start()
        while until is not None and process.poll() is None and not until():
            time.sleep(0.2)
        if until is not None:
            process.send_signal(signal.SIGKILL)
        printed, said = process.communicate()
        memory.end()
    if process.returncode and until is None:
        raise SystemExit(f"{what}: {said[-2000:]}")
    row = {"what": what, "seconds": round(time.perf_counter() - started, 2), "load": round(os.getloadavg()[0], 1)}
    row |= {"largest_process_mb": round(memory.largest_mb), "all_processes_mb": round(memory.all_mb)}
    print(json.dumps(row), file=sys.stderr, flush=True)
    return row, printed


def measure(source: Path, out: Path, workers: int, total: int) -> Iterator[dict[str, Any]]:
    """Every step in turn; `total` training shards."""
    words = ["--workers", str(workers), "--json"]
    shards = [*PREP, "shards", "--source", str(source), "--out", str(out), "--read", "in-place", *words]
    dry = [*shards, "--split", "train"]

    def half() -> bool:
        return len(list(out.glob("train-*.tar"))) >= total // 2

    yield step("shards, killed with half of the training shards there", [*dry, "--num-shards", str(total)], half)[0]
    row, printed = step("shards, training split, started again", [*dry, "--num-shards", str(total)])
    (report,) = json.loads(printed)
    yield {**row, "images": report["members"], "classes_off_count": report["classes_off_count"]}
    for split in ("val", "test"):
        yield step(f"shards, {split}", [*shards, "--split", split])[0]
    yield step("shards, all there already", [*dry, "--num-shards", str(total)])[0]
    row, printed = step("compute-stats", [*PREP, "compute-stats", "--shards", str(out), "--again", *words])
    yield {**row, "images": json.loads(printed)["images"]}
    row, printed = step("verify", [*PREP, "verify", "--shards", str(out), *words])
    yield {**row, "images": json.loads(printed)["samples"], "bad": len(json.loads(printed)["bad"])}
    row = step("report as a page", [*PREP, "report", "--shards", str(out), "--html", str(out.parent / "report.html")])[
        0
    ]
    yield {**row, "page_mb": round((out.parent / "report.html").stat().st_size / 1e6, 2)}
    row, printed = step("a process that opens and takes a batch", [sys.executable, "-c", OPENING, f"{out}/train-*.tar"])
    opened, batch, samples = json.loads(printed)
    yield {**row, "open_seconds": round(opened, 3), "first_batch_seconds": round(batch, 3), "images": samples}


def main(options: argparse.Namespace) -> dict[str, Any]:
    """Draw, run, and remove what was drawn unless it is to be kept."""
    work: Path = options.work
    data = options.data / "ilsvrc2010" if (options.data / "ilsvrc2010").is_dir() else options.data
    source, out = work / "source", work / "shards"
    if work.exists():
        raise SystemExit(f"{work}: is there; name a folder that is not")
    try:
        started = time.perf_counter()
        images = write_source(data, source, options.count)
        drawn = {"what": "drawing the source", "seconds": round(time.perf_counter() - started, 2), "images": images}
        rows = [drawn, *measure(source, out, options.workers, max(20, images["train"] // 1261))]
        sizes = {
            "source_gb": sum(path.stat().st_size for path in source.iterdir()) / 1e9,
            "shards_gb": sum(path.stat().st_size for path in out.glob("*.tar")) / 1e9,
        }
    finally:
        if not options.keep:
            shutil.rmtree(work, ignore_errors=True)
    versions = {"python": sys.version.split()[0], "numpy": np.__version__, "cpus": os.cpu_count()}
    return {"rows": rows, "sizes": {name: round(size, 2) for name, size in sizes.items()}, "versions": versions}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the real devkit and ground truth")
    parser.add_argument("--work", type=Path, required=True, help="folder to work in, which is not there yet")
    parser.add_argument("--count", type=int, help="so many images in all instead of 1,461,406; 20,000 or more")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--keep", action="store_true", help="leave source and shards there")
    parser.add_argument("--json", action="store_true", help="one line")
    asked = parser.parse_args()
    print(json.dumps(main(asked), indent=None if asked.json else 1))
