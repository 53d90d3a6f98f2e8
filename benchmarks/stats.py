"""What the exact statistics cost beside bare decoding of the same shards; CPU seconds of one process, medians."""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg

from alexnet_prep.samples import decode_sample
from alexnet_prep.statistics import sum_samples
from alexnet_shards.shardset import ShardSet, open_shards


def decode_all(shards: ShardSet) -> None:
    """Read, check and decode every sample."""
    files = [Path(path).open("rb") for path in shards.paths]  # noqa: SIM115  # closed below
    for row in shards.rows:
        decode_sample(files[row["shard"]], row)
    for file in files:
        file.close()


def measure(data: Path, repeats: int) -> dict[str, Any]:
    """Statistics and bare decoding, interleaved."""
    with tempfile.TemporaryDirectory() as out:
        command = [
            sys.executable,
            "-m",
            "alexnet_prep.cli",
            "shards",
            "--source",
            str(data),
            "--out",
            out,
            "--split",
            "train",
        ]
        subprocess.run(command, check=True, capture_output=True)
        shards = open_shards([f"{out}/train-*.tar"])
        seconds: dict[str, list[float]] = {"statistics": [], "decode": []}
        for _ in range(repeats):
            started = time.process_time()
            sum_samples(shards.paths, np.array(shards.rows))
            between = time.process_time()
            decode_all(shards)
            seconds["statistics"].append(between - started)
            seconds["decode"].append(time.process_time() - between)
    medians = {name: statistics.median(found) / shards.num_samples for name, found in seconds.items()}
    rows = [{"what": name, "cpu_us_per_image": round(median * 1e6, 1)} for name, median in medians.items()]
    ratios = {"of_decode_rate": round(medians["decode"] / medians["statistics"], 3)}
    versions = {"simplejpeg": simplejpeg.__version__, "numpy": np.__version__, "python": sys.version.split()[0]}
    return {"ratios": ratios, "rows": rows, "samples": shards.num_samples, "versions": versions}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with official archives")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="one line")
    options = parser.parse_args()
    data = options.data / "ilsvrc2010" if (options.data / "ilsvrc2010").is_dir() else options.data
    print(json.dumps(measure(data, options.repeats), indent=None if options.json else 1))
