# /// script
# requires-python = ">=3.11"
# dependencies = []
# [tool.clients]
# venv = "readers"
# ///
"""tar: GNU tar lists and extracts the shards."""

import subprocess
import sys
from pathlib import Path

labels = []
for path in sorted(Path(sys.argv[1], "shards").glob("train-*.tar")):
    names = subprocess.run(["tar", "-tf", path], capture_output=True, text=True, check=True).stdout.split()
    for name in names:
        if name.endswith(".cls"):
            labels.append(int(subprocess.run(["tar", "-xOf", path, name], capture_output=True, check=True).stdout))
print(len(labels), sum(labels))
