"""How long `--help` of every command takes beside `python -c pass`: wall seconds of whole processes, the least of some."""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

COMMANDS = {
    "alexnet-prep": ["alexnet_prep.cli"],
    **{
        f"alexnet-prep {name}": ["alexnet_prep.cli", name]
        for name in ("sample", "shards", "compute-stats", "verify", "index", "report")
    },
    **{f"alexnet-{name}": ["alexnet_train.cli", name] for name in ("train", "eval", "predict", "export", "import")},
}
GOAL_SECONDS = 0.5


def least_seconds(command: list[str], repeats: int) -> float:
    """The least wall time of `command`: what it takes where nothing else wants the processor."""
    found = []
    for _ in range(repeats):
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        found.append(time.perf_counter() - started)
    return min(found)


def measure(repeats: int) -> dict[str, Any]:
    """Every command's help, and Python that does nothing."""
    bare = least_seconds([sys.executable, "-c", "pass"], repeats)
    rows = [{"what": "python -c pass", "seconds": round(bare, 3), "ratio": 1.0}]
    for name, words in COMMANDS.items():
        seconds = least_seconds([sys.executable, "-m", *words, "--help"], repeats)
        rows.append({"what": f"{name} --help", "seconds": round(seconds, 3), "ratio": round(seconds / bare, 1)})
    slowest = max(float(str(row["seconds"])) for row in rows)
    ratios = {"slowest_of_goal": round(slowest / GOAL_SECONDS, 2), "slowest_over_bare": round(slowest / bare, 1)}
    return {"ratios": ratios, "rows": rows, "versions": {"python": sys.version.split()[0]}}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="unused: taken as the other benchmarks take it")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one line instead of a table")
    options = parser.parse_args()
    found = measure(options.repeats)
    if options.json:
        print(json.dumps(found))
    else:
        print("\n".join(f"{row['seconds']:6.3f} s  {row['ratio']:5.1f}x  {row['what']}" for row in found["rows"]))
