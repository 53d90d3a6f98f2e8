"""Benchmarks are modules of the checkout's root, where `make bench` runs them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
