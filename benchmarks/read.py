"""A source read in place and once: requests, seeks and bytes of both, and their times on a slow disk and on this one.

The slow disk is this one behind a layer in every process that serves one request at a time, for 8 ms and at 200 MB/s.
"""

import argparse
import hashlib
import io
import json
import os
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat

CLASSES = 20
SECONDS_A_REQUEST, BYTES_A_SECOND = 0.008, 200e6
FULL_COUNT, FULL_BYTES = 1_261_406, 124e9
WAYS = ("in-place", "once")
# Imported by every Python process that has its folder on PYTHONPATH: counts what is read of one folder, and slows it down.
LAYER = """
import fcntl, mmap, os, struct, time
SOURCE, COUNTS, REQUEST, RATE = (os.environ[f"LAYER_{name}"] for name in ("SOURCE", "COUNTS", "REQUEST", "RATE"))
state = {"file": None, "ends": {}, "names": {}}
real_pread, real_open = os.pread, os.open
def counts():
    if state["file"] is None or state["pid"] != os.getpid():
        state["pid"] = os.getpid()
        file = real_open(f"{COUNTS}/{os.getpid()}", os.O_RDWR | os.O_CREAT)
        os.ftruncate(file, 24)
        state["file"], state["lock"] = mmap.mmap(file, 24), real_open(f"{COUNTS}/lock", os.O_RDWR | os.O_CREAT)
    return state["file"]
def opened(path, flags, *rest, **words):
    file = real_open(path, flags, *rest, **words)
    state["names"].pop(file, None)
    return file
def is_source(file):
    if file not in state["names"]:
        state["names"][file] = os.readlink(f"/proc/self/fd/{file}").startswith(SOURCE)
    return state["names"][file]
def pread(file, size, offset):
    content = real_pread(file, size, offset)
    if is_source(file):
        held = counts()
        requests, seeks, total = struct.unpack_from("<3Q", held)
        seeks += state["ends"].get(file) != offset
        state["ends"][file] = offset + len(content)
        struct.pack_into("<3Q", held, 0, requests + 1, seeks, total + len(content))
        seconds = float(REQUEST) + (len(content) / float(RATE) if float(RATE) else 0)
        if seconds:
            fcntl.flock(state["lock"], fcntl.LOCK_EX)
            time.sleep(seconds)
            fcntl.flock(state["lock"], fcntl.LOCK_UN)
    return content
os.pread, os.open = pread, opened
"""


def photo(seed: int) -> bytes:
    """A small JPEG of smooth colours."""
    coarse = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    coarse.resize((160, 120), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a member to a tar."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def build_source(folder: Path, members: int) -> int:
    """The 2010 training archive with so many small photos, and its devkit; returns the archive's bytes."""
    folder.mkdir()
    photos = [photo(seed) for seed in range(16)]
    counts = [members * (n + 1) // CLASSES - members * n // CLASSES for n in range(CLASSES)]
    with tarfile.open(folder / "ILSVRC2010_images_train.tar", "w", format=tarfile.GNU_FORMAT) as outer:
        for number, count in enumerate(counts):
            buffer = io.BytesIO()
            with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as inner:
                for image in range(count):
                    add(inner, f"n{number:08d}_{image}.JPEG", photos[(number + image) % len(photos)])
            add(outer, f"n{number:08d}.tar", buffer.getvalue())
    names = [
        "ILSVRC2010_ID",
        "WNID",
        "words",
        "gloss",
        "num_children",
        "children",
        "wordnet_height",
        "num_train_images",
    ]
    rows = np.zeros((CLASSES, 1), dtype=[(name, object) for name in names])
    for number, count in enumerate(counts):
        rows[number, 0] = (number + 1, f"n{number:08d}", "", "", 0, 0, 0, count)
    buffer = io.BytesIO()
    savemat(buffer, {"synsets": rows})
    with tarfile.open(folder / "ILSVRC2010_devkit-1.0.tar.gz", "w:gz") as devkit:
        add(devkit, "devkit-1.0/data/meta.mat", buffer.getvalue())
        add(devkit, "devkit-1.0/data/ILSVRC2010_validation_ground_truth.txt", b"1\n")
    return (folder / "ILSVRC2010_images_train.tar").stat().st_size


def run(work: Path, way: str, is_slow: bool) -> dict[str, Any]:
    """One run of `alexnet-prep shards`: seconds, what was read of the source, and a hash over its output."""
    out, counts, layer = work / f"{way}-{is_slow}", work / f"counts-{way}-{is_slow}", work / "layer"
    for folder in (counts, layer):
        folder.mkdir(exist_ok=True)
    (layer / "sitecustomize.py").write_text(LAYER)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(layer), *filter(None, [os.environ.get("PYTHONPATH", "")])]),
        "LAYER_SOURCE": str(work / "source" / "ILSVRC2010_images_train"),
        "LAYER_COUNTS": str(counts),
        "LAYER_REQUEST": str(SECONDS_A_REQUEST if is_slow else 0),
        "LAYER_RATE": str(BYTES_A_SECOND if is_slow else 0),
    }
    words = ["shards", "--source", str(work / "source"), "--out", str(out), "--read", way, "--num-shards", "20"]
    command = [sys.executable, "-m", "alexnet_prep.cli", *words, "--json", "--hang-seconds", "600"]
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    seconds = time.perf_counter() - started
    sums = np.zeros(3, np.int64)
    for path in counts.iterdir():
        if path.name != "lock":
            sums += struct.unpack("<3Q", path.read_bytes())
    digest = hashlib.sha256()
    for path in sorted(path for path in out.glob("train*") if path.is_file()):
        digest.update(path.read_bytes())
    requests, seeks, read_bytes = map(int, sums)
    return {
        "seconds": round(seconds, 2),
        "requests": requests,
        "seeks": seeks,
        "bytes": read_bytes,
        "disk_seconds": round(requests * SECONDS_A_REQUEST + read_bytes / BYTES_A_SECOND, 2),
        "sha256": digest.hexdigest()[:16],
    }


def measure(members: int, scratch: Path, slow: bool, repeats: int) -> dict[str, Any]:
    """Both ways on a source of so many members."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        work = Path(folder)
        size = build_source(work / "source", members)
        row: dict[str, Any] = {"members": members, "source_bytes": size}
        for kind in ("fast", *(("slow",) if slow else ())):
            for way in WAYS:
                runs = []
                for _ in range(repeats if kind == "fast" else 1):
                    runs.append(run(work, way, kind == "slow"))
                    subprocess.run(["rm", "-rf", *map(str, work.glob("in-place-*")), *map(str, work.glob("once-*"))])
                    subprocess.run(["rm", "-rf", *map(str, work.glob("counts-*"))])
                row[f"{kind} {way}"] = min(runs, key=lambda each: float(each["seconds"]))
        hashes = {row[name]["sha256"] for name in row if " " in name}
        if len(hashes) != 1:
            raise SystemExit(f"{members} members: the outputs differ: {hashes}")
        return row


def fitted(rows: list[dict[str, Any]], name: str) -> float:
    """Seconds at the full count, by the line through the runs of a kind."""
    counts, seconds = [row["members"] for row in rows], [row[name]["seconds"] for row in rows]
    if len(rows) < 2:
        return float(seconds[0] / counts[0] * FULL_COUNT)
    slope, offset = np.polyfit(counts, seconds, 1)
    return float(slope * FULL_COUNT + max(offset, 0))


def report(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Ratios of once to in place, of the largest source and at the full count."""
    last = rows[-1]
    slow = [row for row in rows if "slow once" in row]
    place, once = last["fast in-place"], last["fast once"]
    ratios = {
        "source_bytes_read": round(once["bytes"] / last["source_bytes"], 4),
        "of_requests": round(once["requests"] / place["requests"], 5),
        "of_in_place_on_a_fast_disk": round(once["seconds"] / place["seconds"], 3),
    }
    if slow:
        ratios["faster_on_a_slow_disk"] = round(
            slow[-1]["slow in-place"]["seconds"] / slow[-1]["slow once"]["seconds"], 2
        )
        ratios["faster_on_a_slow_disk_at_full_count"] = round(
            fitted(slow, "slow in-place") / fitted(slow, "slow once"), 2
        )
    # The official archive: its requests are those of each member in place, and those of its bytes once.
    full = {
        "in-place": place["requests"] / last["members"] * FULL_COUNT * SECONDS_A_REQUEST + FULL_BYTES / BYTES_A_SECOND,
        "once": FULL_BYTES * ratios["source_bytes_read"] / BYTES_A_SECOND + FULL_BYTES / (8 << 20) * SECONDS_A_REQUEST,
    }
    ratios["less_disk_time_of_124_GB"] = round(full["in-place"] / full["once"], 2)
    return {
        "ratios": ratios,
        "disk_hours_of_124_GB": {way: round(s / 3600, 2) for way, s in full.items()},
        "rows": rows,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slow", default="500,1500", help="members of the sources on the slow disk")
    parser.add_argument("--members", default="20000", help="members of the sources on this disk alone")
    parser.add_argument("--repeats", type=int, default=2, help="runs on this disk, the fastest counts")
    parser.add_argument("--scratch", type=Path, default=None, help="folder for sources and shards")
    parser.add_argument("--json", action="store_true", help="one line")
    options = parser.parse_args()
    sizes = [(int(n), True) for n in options.slow.split(",")] + [(int(n), False) for n in options.members.split(",")]
    found = [measure(members, options.scratch, slow, options.repeats) for members, slow in sizes]
    print(json.dumps(report(found), indent=None if options.json else 1))
