"""Opening 1.28 M samples: seconds to open, seconds to the first batch, and memory above the batches, in a fresh process.

A thousand shards of 1,281 samples, made by naming one shard of the real photos a thousand times and repeating its rows.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_shards.index import load_index, save_index
from alexnet_shards.manifest import index_path, load_manifest, manifest_path, save_manifest, shard_name

SHARDS, SAMPLES_PER_SHARD = 1000, 1281
OPENING = """
import json, sys, time
from pathlib import Path
from alexnet_shards.shardset import open_shards
from alexnet_stream.stream import Stream, StreamConfig

def resident_bytes():
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) * 1024

before, started, cpu = resident_bytes(), time.perf_counter(), time.process_time()
shards = open_shards([sys.argv[1]])
opened, opened_cpu = time.perf_counter(), time.process_time()
with Stream(shards, StreamConfig(batch_size=128, seed=1)) as stream:
    batches = stream.epoch()
    next(batches)
    first, first_cpu = time.perf_counter(), time.process_time()
    for _ in range(12):
        ring = 4 * next(batches).images_nhwc.nbytes
    after = resident_bytes()
seconds = [opened - started, opened_cpu - cpu, first - opened, first_cpu - opened_cpu]
print(json.dumps([shards.num_samples, *seconds, (after - before - ring) / 1e6]))
"""


def make_shards(data: Path, out: Path) -> None:
    """The thousand shards, copies of a small one."""
    command = [sys.executable, "-m", "alexnet_prep.cli", "shards", "--source", str(data), "--split", "train"]
    subprocess.run([*command, "--num-shards", "20", "--out", str(out), "--json"], check=True, stdout=subprocess.DEVNULL)
    manifest, rows = load_manifest(manifest_path(out, "train")), np.array(load_index(index_path(out, "train")))
    first = manifest.shards[0]
    repeated = np.tile(np.resize(rows[rows["shard"] == 0], SAMPLES_PER_SHARD), SHARDS)
    (out / first.name).rename(out / "first")
    repeated["shard"] = np.repeat(np.arange(SHARDS), SAMPLES_PER_SHARD)
    facts = []
    for number in range(SHARDS):
        name = shard_name("train", number, SHARDS)
        shutil.copyfile(out / "first", out / name)
        facts.append(replace(first, name=name, samples=SAMPLES_PER_SHARD))
    sha256 = save_index(index_path(out, "train"), repeated)
    save_manifest(manifest_path(out, "train"), replace(manifest, shards=tuple(facts), index_sha256=sha256))


def measure(data: Path, repeats: int) -> dict[str, Any]:
    """Medians of fresh processes."""
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "shards"
        make_shards(data, out)
        program = [sys.executable, "-c", OPENING, f"{out}/train-<000..999>.tar"]
        found = [json.loads(subprocess.run(program, capture_output=True, check=True).stdout) for _ in range(repeats)]
    seconds = ("open_seconds", "open_cpu_seconds", "first_batch_seconds", "first_batch_cpu_seconds")
    columns = ("samples", *seconds, "megabytes_above_batches")
    row = {
        name: round(statistics.median(values), 4)
        for name, values in zip(columns, zip(*found, strict=True), strict=True)
    }
    ratios = {
        "open": round(row["open_seconds"] / 0.1, 3),
        "first_batch": round(row["first_batch_seconds"] / 0.5, 3),
        "memory": round(row["megabytes_above_batches"] / 100, 3),
    }
    versions = {"python": sys.version.split()[0], "numpy": np.__version__}
    return {"ratios": ratios, "rows": [row], "versions": versions}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with official archives")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one line")
    options = parser.parse_args()
    data = options.data / "ilsvrc2010" if (options.data / "ilsvrc2010").is_dir() else options.data
    print(json.dumps(measure(data, options.repeats), indent=None if options.json else 1))
