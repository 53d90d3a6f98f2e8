"""What grows with the number of images: index, plan, opening and epoch table at a thousand to 14 million rows.

Each in a process of its own: seconds, megabytes of memory above what it began with, and the slopes per million rows that
a straight line through the largest sizes has. No pixels are made: names, places and labels are drawn.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

SIZES = (1_000, 10_000, 100_000, 1_261_406, 14_197_122)
PROGRAM = """
import json, sys, time
from pathlib import Path
import numpy as np
what, rows, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])

def peak_mb():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1e3

def drawn_index():
    from alexnet_shards.index import INDEX_DTYPE
    index = np.zeros(rows, INDEX_DTYPE)
    index["shard"] = np.arange(rows) // 1261
    index["offset"], index["size"] = (np.arange(rows) % 1261) * 34816 + 512, 31_000
    index["label"], index["crc32"] = np.arange(rows) % 1000, np.arange(rows)
    return index

def drawn_split():
    from alexnet_prep.archive import LOCATION_DTYPE
    from alexnet_prep.split import SplitSource
    from alexnet_shards.manifest import ClassFact
    numbers = np.char.zfill(np.arange(rows).astype("S"), 13)
    keys = np.char.add(b"n", numbers)
    names = np.char.add(keys, b".JPEG")
    places = np.zeros(rows, LOCATION_DTYPE)
    places["offset"], places["size"] = np.arange(rows) * 110_000, 110_000
    labels, patched = (np.arange(rows) % 1000).astype(np.int32), np.zeros(rows, np.bool_)
    classes = tuple(ClassFact(wnid=f"n{number:08d}") for number in range(1000))
    common = dict(split="train", edition="2010", label_order="devkit", classes=classes, containers=(Path("train.tar"),))
    return SplitSource(**common, names=names, keys=keys, locations=places, labels=labels, patched=patched)

def write_set():
    from dataclasses import replace
    from alexnet_shards.index import save_index
    from alexnet_shards.manifest import ClassFact, Manifest, index_path, manifest_path, save_manifest, shard_name
    from alexnet_shards.scan import scan_shard
    from alexnet_shards.tar import END_OF_TAR, member_bytes
    shards = max(1, rows // 1261)
    with (folder / "one").open("wb") as file:
        for number in range(8):  # which stand for all: the rows name them again and again
            file.write(member_bytes(f"s{number}.jpg", b"x") + member_bytes(f"s{number}.cls", b"%d" % (number % 1000)))
        file.write(END_OF_TAR)
    scan = scan_shard(folder / "one")
    index = np.tile(np.resize(scan.rows, 1261), shards)
    index["shard"] = np.repeat(np.arange(shards), 1261)
    facts = []
    for number in range(shards):
        name = shard_name("train", number, shards)
        (folder / name).write_bytes((folder / "one").read_bytes())
        facts.append(replace(scan.fact, name=name, samples=1261))
    sha256 = save_index(index_path(folder, "train"), index)
    classes = tuple(ClassFact(wnid=f"n{number:08d}") for number in range(1000))
    save_manifest(
        manifest_path(folder, "train"), Manifest(split="train", classes=classes, shards=tuple(facts), index_sha256=sha256)
    )

if what == "plan":
    from alexnet_prep.plan import make_plan
    before, started = peak_mb(), time.perf_counter()
    source = drawn_split()
    built, held = time.perf_counter(), peak_mb()
    plan = make_plan(source, 0, None if rows > 1_200_000 else max(1, rows // 1261))
    source.identity()
    print(json.dumps([time.perf_counter() - built, peak_mb() - before]))
elif what == "index":
    from alexnet_shards.index import INDEX_DTYPE, load_index, save_index
    index = drawn_index()
    before, started = peak_mb() - index.nbytes / 1e6, time.perf_counter()
    save_index(folder / "drawn.npy", index)
    print(json.dumps([time.perf_counter() - started, peak_mb() - before]))
elif what == "write set":
    write_set()
    print(json.dumps([0.0, 0.0]))
elif what == "open":
    from alexnet_shards.shardset import open_shards
    before, started = peak_mb(), time.perf_counter()
    shards = open_shards([f"{folder}/train-*.tar"])
    print(json.dumps([time.perf_counter() - started, peak_mb() - before]))
else:
    from alexnet_stream.epoch import epoch_table
    before, started = peak_mb(), time.perf_counter()
    epoch_table(rows, 0, 1)
    print(json.dumps([time.perf_counter() - started, peak_mb() - before]))
"""
THINGS = ("plan", "index", "open", "epoch table")


def run(what: str, rows: int, folder: Path) -> list[float]:
    """[seconds, megabytes] of one thing in a fresh process."""
    command = [sys.executable, "-c", PROGRAM, what, str(rows), str(folder)]
    found: list[float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def measure(sizes: list[int]) -> dict[str, Any]:
    """Every thing at every size, and the slopes."""
    rows = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as name:
            run("write set", size, Path(name))
            index_mb = (Path(name) / "train.index.npy").stat().st_size / 1e6
            manifest_mb = (Path(name) / "train.manifest.json").stat().st_size / 1e6
            for what in THINGS:
                seconds, megabytes = run(what, size, Path(name))
                row = {"what": what, "rows": size, "seconds": round(seconds, 4), "megabytes": round(megabytes, 1)}
                rows.append({**row, **({"file_mb": round(index_mb, 1)} if what == "index" else {})})
                print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
            rows.append({"what": "manifest", "rows": size, "seconds": 0.0, "megabytes": round(manifest_mb, 2)})
    slopes = {what: slope([row for row in rows if row["what"] == what]) for what in THINGS}
    return {"ratios": slopes, "rows": rows, "versions": {"python": sys.version.split()[0], "numpy": np.__version__}}


def slope(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Seconds and megabytes a million rows, by the straight line through the sizes above 10,000."""
    large = [row for row in rows if row["rows"] >= 10_000] or rows
    if len(large) < 2:
        return {}
    millions = np.array([row["rows"] for row in large]) / 1e6
    lines = {name: np.polyfit(millions, [row[name] for row in large], 1)[0] for name in ("seconds", "megabytes")}
    return {f"{name}_a_million": round(float(value), 3) for name, value in lines.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="unused: taken as the other benchmarks take it")
    parser.add_argument("--rows", type=int, nargs="+", default=list(SIZES), help="sizes to measure")
    parser.add_argument("--json", action="store_true", help="one line")
    options = parser.parse_args()
    print(json.dumps(measure(options.rows), indent=None if options.json else 1))
