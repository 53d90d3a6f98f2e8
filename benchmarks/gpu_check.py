"""Everything that is worth knowing of a GPU in its first minutes: tests/gpu, then benchmarks/gpu.py.

    make gpu-check PYTHON=python3 WHEELS=wheels

Needs a Python with CUDA torch, this folder's sources on PYTHONPATH, and what WHEELS has (docs/training.md); the project is
not installed, and compiled parts are used where a compiler is. Without a GPU it says what it would do, and that nothing
was checked. Exit status 1 where a check or the benchmark failed.
"""

import ast
import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
CHECKS = ROOT / "tests" / "gpu"
NEEDED = ("torch", "numpy", "click", "rich", "simplejpeg", "pytest")
CHECKS_SECONDS, BENCHMARK_SECONDS = 210.0, 210.0


def planned() -> list[str]:
    """The names of the checks, from their source: nothing of them is imported."""
    found = []
    for path in sorted(CHECKS.glob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found.append(f"{path.stem}: {node.name.removeprefix('test_').replace('_', ' ')}")
    return found


def tell_plan(why: str) -> None:
    checks = planned()
    print("would check, each against the CPU's result:")
    print("".join(f"  {check}\n" for check in checks), end="")
    print("would then run benchmarks/gpu.py: floors, images a second of step, stream and both, hours of 93 epochs")
    print(f"{why}: nothing was checked ({len(checks)} skipped, 0 passed)")


def checked() -> int:
    """The status of tests/gpu, without this project's other settings, which name packages that may not be there."""
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", str(CHECKS), "--confcutdir", str(CHECKS)]
    options = ["--import-mode=importlib", "-p", "no:cacheprovider", "-q", "-rs", "--durations=5", str(CHECKS)]
    environment = {name: value for name, value in os.environ.items() if name != "ALEXNET_GPU_REHEARSAL"}
    try:
        return subprocess.run([*command, *options], env=environment, check=False, timeout=CHECKS_SECONDS).returncode
    except subprocess.TimeoutExpired:
        print(f"the checks took more than {CHECKS_SECONDS:.0f} seconds and were ended")
        return 1


def main() -> int:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if "torch" in missing:
        tell_plan("no CUDA device (this Python has no torch)")
        return 0
    import torch

    if not torch.cuda.is_available():
        tell_plan("no CUDA device")
        return 0
    if missing:
        print(f"missing in {sys.executable}: {', '.join(missing)}; see `make gpu-check` in docs/training.md")
        return 1
    from alexnet_network.kernels import load_kernels

    ways = "compiled" if load_kernels() else "plain torch and Python (no C compiler)"
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, CUDA {torch.version.cuda}; CPU helpers: {ways}")
    begun = time.monotonic()
    status = checked()
    print(f"checks: status {status} after {time.monotonic() - begun:.0f} s", flush=True)
    script = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--seconds", str(BENCHMARK_SECONDS)]
    return max(status, subprocess.run(script, check=False).returncode)


if __name__ == "__main__":
    sys.exit(main())
