"""What making shards costs beside bare decoding, a stock-Pillow script and OpenCV, on real photos; one core and two.

CPU seconds of one process each, repeats interleaved, medians; two workers by wall time. Peers run in virtual environments of
their own, made by `make bench-peers`.
"""

import argparse
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from alexnet_pixels.convert import convert
from alexnet_pixels.decoder import decoder_facts
from alexnet_pixels.recipe import PixelRecipe
from alexnet_pixels.sniff import BadImage
from alexnet_prep.archive import LOCATION_DTYPE
from alexnet_prep.build import ShardJob, build_shard
from alexnet_prep.engine import Engine
from alexnet_prep.job import BuildSetup, Job, Result, Seconds
from alexnet_prep.reader import SourceReader
from alexnet_prep.source import find_source

ROOT = Path(__file__).parent.parent
PEERS = ROOT / "benchmarks" / "peers"


def export_photos(data: Path, folder: Path) -> list[Path]:
    """Every plain RGB JPEG of the archives in `data` as a file, so that all contenders read the same bytes."""
    source = find_source(data, "auto")
    for split in source.splits:
        images = source.read(split, None, lambda _: None)
        reader = SourceReader(images.containers)
        for row in range(len(images)):
            place = images.locations[row]
            content = reader.read(int(place["container"]), images.names[row], int(place["offset"]), int(place["size"]))
            try:
                if convert(content, PixelRecipe()).kinds == ():
                    (folder / f"{images.key(row)}.JPEG").write_bytes(content)
            except BadImage:
                continue
        reader.close()
    return sorted(folder.iterdir())


def job_of(paths: list[Path], number: int) -> ShardJob:
    """One shard of these photos."""
    names = np.array([path.name.encode() for path in paths])
    return ShardJob(
        number=number,
        name=f"train-{number:03d}.tar",
        keys=np.array([path.stem.encode() for path in paths]),
        file_names=names,
        locations=np.array([(0, 0, 0, path.stat().st_size) for path in paths], LOCATION_DTYPE),
        labels=np.zeros(len(paths), np.int32),
        patched=np.zeros(len(paths), np.bool_),
    )


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU seconds of this process for `work`."""
    started = time.process_time()
    work()
    return time.process_time() - started


def decode_all(contents: list[bytes]) -> None:
    """The bare decode of the same bytes with the same library."""
    for content in contents:
        Image.open(io.BytesIO(content)).load()


def build_all(paths: list[Path], out: Path) -> None:
    """Our whole job on one core: read, convert, write a shard with index rows and sidecar."""
    setup = BuildSetup(containers=(paths[0].parent,), recipe=PixelRecipe(), out=out, sidecars=out)
    reader = SourceReader(setup.containers)
    build_shard(job_of(paths, 0), setup, reader, lambda *_: None)
    reader.close()


def peer_seconds(name: str, script: str, folder: Path, out: Path) -> float | None:
    """CPU seconds that a peer's script tells; None where the peer is not installed."""
    python = ROOT / ".venv-peers" / name / "bin" / "python"
    if not (python.parent.parent / ".installed").exists():
        return None
    done = subprocess.run([python, PEERS / script, folder, out], capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout)["cpu_seconds"])


class Quiet:
    """A listener that wants to know nothing."""

    def image(self, source_bytes: int) -> None:
        """A worker begins an image."""

    def done(self, job: Job[Result], result: Result, seconds: Seconds | None) -> None:
        """A job is done."""

    def waiting(self, line: str) -> None:
        """Nothing to say."""

    def retry(self, job: Job[Result], reason: str) -> None:
        """A worker was lost."""


def build_with_workers(parts: list[list[Path]], workers: int, out: Path) -> float:
    """A shard of each part by so many worker processes; returns when they had started, each with a shard of one photo."""
    setup = BuildSetup(containers=(parts[0][0].parent,), recipe=PixelRecipe(), out=out, sidecars=out)
    first = [job_of(parts[0][:1], len(parts) + number) for number in range(workers)]
    with Engine(setup, workers, 600, Quiet()) as engine:
        deque(engine.run(first, workers), maxlen=0)
        started = time.perf_counter()
        deque(engine.run([job_of(paths, number) for number, paths in enumerate(parts)], len(parts)), maxlen=0)
    return started


def wall_seconds(paths: list[Path], workers: int, shards: int, out: Path) -> float:
    """Wall seconds of `shards` shards of these photos by so many worker processes."""
    started = build_with_workers([paths] * shards, workers, out)
    return time.perf_counter() - started


def measure(data: Path, repeats: int, shards: int) -> dict[str, Any]:
    """All contenders, interleaved."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for part in ("photos", "out"):
            (work / part).mkdir()
        paths = export_photos(data, work / "photos")
        contents = [path.read_bytes() for path in paths]
        contenders: dict[str, Callable[[], float | None]] = {
            "ours": lambda: cpu_seconds(lambda: build_all(paths, work / "out")),
            "decode": lambda: cpu_seconds(lambda: decode_all(contents)),
            "pillow script": lambda: peer_seconds("pillow", "pillow_lanczos.py", work / "photos", work / "out"),
            "opencv area": lambda: peer_seconds("opencv", "opencv_area.py", work / "photos", work / "out"),
        }
        seconds: dict[str, list[float]] = {contender: [] for contender in contenders}
        for _ in range(repeats):
            for contender, run in contenders.items():
                found = run()
                if found is not None:
                    seconds[contender].append(found / len(paths))
        walls: dict[int, list[float]] = {1: [], 2: []}
        for repeat in range(repeats):
            for workers, found_walls in walls.items():
                out = work / f"out{repeat}-{workers}"
                out.mkdir()
                found_walls.append(wall_seconds(paths, workers, shards, out))
    return summary(seconds, walls, len(paths), shards)


def summary(seconds: dict[str, list[float]], walls: dict[int, list[float]], photos: int, shards: int) -> dict[str, Any]:
    """Ratios of medians, a row a contender, versions."""
    rows: list[dict[str, Any]] = [
        {"what": name, "cpu_us_per_image": round(statistics.median(found) * 1e6, 1), "runs": len(found)}
        if found
        else {"what": name, "reason": "not installed: make bench-peers"}
        for name, found in seconds.items()
    ]
    for workers, found in walls.items():
        rows.append(
            {"what": f"{workers} workers", "images_per_second": round(photos * shards / statistics.median(found), 1)}
        )
    ours = statistics.median(seconds["ours"])
    named = {"of_decode_rate": "decode", "over_pillow_script": "pillow script", "over_opencv": "opencv area"}
    ratios = {
        ratio: round(statistics.median(seconds[name]) / ours, 3) for ratio, name in named.items() if seconds[name]
    }
    ratios["two_workers"] = round(statistics.median(walls[1]) / statistics.median(walls[2]), 3)
    versions = {**decoder_facts(), "python": sys.version.split()[0], "numpy": np.__version__}
    return {"ratios": ratios, "rows": rows, "photos": photos, "versions": versions}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with official archives")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--shards", type=int, default=24, help="shards of all photos for the comparison of workers")
    parser.add_argument("--json", action="store_true", help="one line")
    options = parser.parse_args()
    data = options.data / "ilsvrc2010" if (options.data / "ilsvrc2010").is_dir() else options.data
    print(json.dumps(measure(data, options.repeats, options.shards), indent=None if options.json else 1))
