"""CPU time an image of our stream and of other loaders: random 224 crops, uint8, ready for the device, of real photos.

Every contender runs as a process of its own that counts its CPU seconds and those of its workers over whole epochs after
the first (peers/common.py). One thread or worker each, kept from epoch to epoch, so that no epoch pays for new ones; the
few photos are repeated under other keys to shards of usual size, so that none pays for short epochs. Repeats are
interleaved, each beginning with the next contender; medians. CPU time is little disturbed by what else the machine
does, wall time would be. Before that, samples of each contender are compared pixel by pixel with a plain decode and
slice. Peers live in virtual environments of their own, made by `make bench-peers`.
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import zlib
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import simplejpeg

from alexnet_shards.shardset import ShardSet, open_shards

ROOT = Path(__file__).parent.parent
PEERS = ROOT / "benchmarks" / "peers"
MEAN_TOLERANCE_LEVELS = 1.5
SHARDS, COPIES = 6, 3


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A loader's script, the environment it runs in (None: this one), and the ratio it is reported under."""

    name: str
    script: str
    venv: str | None = None
    ratio: str = ""
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def python(self) -> Path:
        """The interpreter."""
        return Path(sys.executable) if self.venv is None else ROOT / ".venv-peers" / self.venv / "bin" / "python"

    def missing(self) -> str:
        """Why the contender cannot run; empty where it can."""
        if self.venv is None or (ROOT / ".venv-peers" / self.venv / ".installed").exists():
            return ""
        failed = ROOT / ".venv-peers" / self.venv / "failed"
        return (
            f"does not install: {failed.read_text().strip()}" if failed.exists() else "not installed: make bench-peers"
        )


CONTENDERS = (
    Contender(name="decode alone", script="decode_alone.py"),
    Contender(name="ours", script="ours.py"),
    Contender(name="ours, no compiler", script="ours.py", settings={"ALEXNET_KERNELS": "off"}),
    Contender(name="ours, 2 threads", script="ours.py", settings={"THREADS": "2"}),
    Contender(name="ours, child process", script="ours.py", settings={"CHILD": "1"}),
    Contender(name="ours, whole images", script="ours_whole.py"),
    Contender(name="ShardDataset, whole images", script="ours_whole.py", settings={"DATASET": "1"}),
    Contender(name="webdataset + PIL + float32", script="webdataset_usual.py", venv="webdataset", ratio="over_usual"),
    Contender(
        name="webdataset + simplejpeg", script="webdataset_simplejpeg.py", venv="webdataset", ratio="over_webdataset"
    ),
    Contender(name="mosaicml-streaming", script="mosaic_simplejpeg.py", venv="mosaic", ratio="over_mosaic"),
    Contender(name="litdata", script="litdata_simplejpeg.py", venv="litdata", ratio="over_litdata"),
    Contender(name="DALI, CPU pipeline", script="dali_cpu.py", venv="dali", ratio="over_dali"),
    Contender(name="SPDL, threads, simplejpeg", script="spdl_threads.py", venv="spdl", ratio="over_spdl"),
    Contender(name="Grain over our index", script="grain_index.py", ratio="over_grain"),
    Contender(name="DataLoader over ShardDataset", script="dataset_loader.py", ratio="over_dataloader"),
    Contender(name="ffcv", script="", venv="ffcv", ratio="over_ffcv"),
)


def make_shards(data: Path, out: Path, shards: int = SHARDS, copies: int = COPIES) -> ShardSet:
    """Shards in the new directory `out`, each of all training photos of the archives in `data`, `copies` times."""
    out.mkdir()
    once = out.parent / "once"
    command = [sys.executable, "-m", "alexnet_prep.cli", "shards", "--source", str(data), "--split", "train"]
    subprocess.run([*command, "--num-shards", "1", "--out", str(once), "--json"], check=True, stdout=subprocess.DEVNULL)
    with tarfile.open(once / "train-000.tar") as archive:
        members = [(member, archive.extractfile(member).read()) for member in archive]  # type: ignore[union-attr]
    for shard in range(shards):
        with tarfile.open(out / f"train-{shard:03d}.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
            for copy in range(copies):
                for member, content in members:
                    archive.addfile(member.replace(name=f"{shard}{copy}_{member.name}"), io.BytesIO(content))
    return open_shards([f"{out}/train-*.tar"])


def run(contender: Contender, folder: Path, *arguments: str) -> str:
    """What the contender's script prints; raises RuntimeError with its last words where it fails."""
    command = [str(contender.python), str(PEERS / contender.script), str(folder), *arguments]
    environment = {**os.environ, **contender.settings, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, env=environment, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{contender.name}: {done.stderr[-2000:]}")
    return done.stdout


def seconds_per_image(contender: Contender, folder: Path, images: int, seconds: float) -> float:
    """CPU seconds an image of a set of `images`, counted over `seconds` of CPU time or more, in whole epochs."""
    counted = json.loads(run(contender, folder, "--images", str(images), "--seconds", str(seconds)).splitlines()[-1])
    return float(counted["seconds"]) / int(counted["images"])


def reference_crops(folder: Path, keys: list[str], places: list[tuple[int, int]]) -> npt.NDArray[np.uint8]:
    """The crops at `places` of the samples `keys`, each by a whole decode and a slice."""
    crops = []
    for key, (top, left) in zip(keys, places, strict=True):
        with tarfile.open(folder / f"train-{int(key[0]):03d}.tar") as archive:
            jpeg = archive.extractfile(f"{key}.jpg").read()  # type: ignore[union-attr]
        crops.append(simplejpeg.decode_jpeg(jpeg, "RGB")[top : top + 224, left : left + 224])
    return np.stack(crops)


def difference_levels(contender: Contender, folder: Path, work: Path) -> float:
    """Mean absolute difference of a contender's pixels to ours, in grey levels; raises where they are other images."""
    file = work / "check.npz"
    run(contender, folder, "--check", str(file))
    with np.load(file) as found:
        places = list(zip(found["tops"].tolist(), found["lefts"].tolist(), strict=True))
        expected = reference_crops(folder, found["keys"].tolist(), places)
        mean = float(np.abs(found["images"].astype(np.int16) - expected).mean())
    if mean > MEAN_TOLERANCE_LEVELS:
        raise RuntimeError(f"{contender.name}: its pixels differ from a plain decode by {mean:.2f} levels in the mean")
    return mean


def measure(data: Path, repeats: int, window_seconds: float) -> dict[str, Any]:
    """All contenders: their pixels checked, then interleaved runs."""
    reasons = {contender.name: contender.missing() for contender in CONTENDERS}
    pixels: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder, work = Path(name) / "shards", Path(name)
        shards = make_shards(data, folder)
        for contender in CONTENDERS:
            if not reasons[contender.name] and contender.script != "decode_alone.py":
                try:
                    pixels[contender.name] = round(difference_levels(contender, folder, work), 3)
                except RuntimeError as error:
                    if contender.venv is None:
                        raise
                    reasons[contender.name] = f"does not run: {str(error).splitlines()[-1]}"
        ready = [contender for contender in CONTENDERS if not reasons[contender.name]]
        seconds: dict[str, list[float]] = {contender.name: [] for contender in ready}
        for repeat in range(repeats):
            first = repeat % len(ready)
            for contender in (*ready[first:], *ready[:first]):
                seconds[contender.name].append(seconds_per_image(contender, folder, shards.num_samples, window_seconds))
        return summary(seconds, pixels, reasons, shards)


def crc32_seconds(shards: ShardSet) -> float:
    """CPU seconds an image of the checksum that our rows include: the best of five passes."""
    jpegs = []
    for row in shards.rows:
        with Path(shards.paths[row["shard"]]).open("rb") as file:
            file.seek(int(row["offset"]))
            jpegs.append(file.read(int(row["size"])))
    passes = []
    for _ in range(5):
        started = time.process_time()
        for jpeg in jpegs:
            zlib.crc32(jpeg)
        passes.append(time.process_time() - started)
    return min(passes) / len(jpegs)


def summary(
    seconds: dict[str, list[float]], pixels: dict[str, float], reasons: dict[str, str], shards: ShardSet
) -> dict[str, Any]:
    """Ratios of medians, a row a contender, versions."""
    cost = {name: statistics.median(found) for name, found in seconds.items()}
    rows: list[dict[str, Any]] = []
    for contender in CONTENDERS:
        row: dict[str, Any] = {"what": contender.name}
        if contender.name in cost:
            found = seconds[contender.name]
            row["cpu_us_per_image"] = round(cost[contender.name] * 1e6, 1)
            row["least_and_most"] = [round(min(found) * 1e6, 1), round(max(found) * 1e6, 1)]
            row["pixel_difference_levels"] = pixels.get(contender.name)
        else:
            row["reason"] = reasons[contender.name]
        rows.append(row)
    ratios = {"over_decode_cost": round(cost["ours"] / cost["decode alone"], 3)}
    ratios["dataset_over_stream"] = round(cost["ShardDataset, whole images"] / cost["ours, whole images"], 3)
    for contender in CONTENDERS:
        if contender.ratio and contender.name in cost:
            ratios[contender.ratio] = round(cost[contender.name] / cost["ours"], 3)
    jpeg_bytes = float(np.mean(shards.rows["size"]))
    versions = {name: version(name) for name in ("numpy", "simplejpeg", "torch")}
    return {
        "ratios": ratios,
        "rows": rows,
        "images_an_epoch": shards.num_samples,
        "mean_jpeg_bytes": round(jpeg_bytes),
        "crc32_us_per_image": round(crc32_seconds(shards) * 1e6, 1),
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "versions": {**versions, "python": sys.version.split()[0], **peer_versions()},
    }


def peer_versions() -> dict[str, str]:
    """The pinned version of each peer that runs."""
    lines = [line for path in sorted(PEERS.glob("*.txt")) for line in path.read_text().split() if "==" in line]
    peers = ("webdataset", "mosaicml-streaming", "litdata", "nvidia-dali-cuda120", "ffcv")
    return {name: pin for name, _, pin in (line.partition("==") for line in lines) if name in peers}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with official archives")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="CPU time to count over, a run")
    parser.add_argument("--json", action="store_true", help="one line")
    parser.add_argument(
        "--load", type=int, default=0, help="ours, decoding alone and DALI, each also beside N busy processes"
    )
    options = parser.parse_args()
    data = options.data / "ilsvrc2010" if (options.data / "ilsvrc2010").is_dir() else options.data
    if options.load:
        sys.path.insert(0, str(ROOT))
        from benchmarks.underload import main

        print("\n".join(main(data, options.load, options.repeats)))
    else:
        print(json.dumps(measure(data, options.repeats, options.seconds), indent=None if options.json else 1))
