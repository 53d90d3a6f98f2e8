"""Small C sources, compiled once by the machine's own compiler, kept in the user's cache, and never required."""

import ctypes
import functools
import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from alexnet_shards.errors import AlexnetError

LOGGER = logging.getLogger(__name__)
# No -ffast-math: its start-up code would flush subnormals to zero in the whole process.
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared")
BUILD_SECONDS = 60


@functools.cache
def load_library(source: Path, libraries: tuple[str, ...] = ()) -> ctypes.CDLL | None:
    """The library of a C source, compiled at the first call on this machine (about a second), linked with `libraries`.

    None where it cannot be had (no compiler, an unwritable cache) or ALEXNET_KERNELS=off: callers then do the same work
    in numpy or torch, with the same results, slower.
    """
    if os.environ.get("ALEXNET_KERNELS") == "off":
        return None
    compiler = next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)
    if compiler is None:
        LOGGER.info("no C compiler: %s does its work without, which is slower", source.stem)
        return None
    try:
        return ctypes.CDLL(str(_build(source, compiler, libraries)))
    except (OSError, subprocess.SubprocessError, AlexnetError) as error:
        LOGGER.warning("%s cannot be built (%s): the same work is done without, slower", source.name, error)
        return None


def cache_home() -> Path:
    """The folder of all that is kept for this user, made or not: `libraries` and `shards` lie below it.

    Raises AlexnetError where the system knows no home for the user.
    """
    named = Path(os.environ.get("XDG_CACHE_HOME") or "")
    try:
        # The XDG specification has relative paths ignored: they would be another folder for each current directory.
        base = named if named.is_absolute() else Path.home() / ".cache"
    except RuntimeError as error:
        raise AlexnetError("this user has no home directory for a cache; name a folder in XDG_CACHE_HOME") from error
    return base / "alexnet-replication"


def _build(source: Path, compiler: str, libraries: tuple[str, ...]) -> Path:
    """The library's path in the cache; its name carries the source, the compiler and the processor."""
    version = subprocess.run([compiler, "--version"], capture_output=True, check=True, timeout=BUILD_SECONDS).stdout
    parts = [source.read_bytes(), version, " ".join(FLAGS).encode(), _processor()]
    key = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
    directory = cache_home() / "libraries"
    library = directory / f"{source.stem}-{key}.so"
    if not library.exists():
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory) as work:
            built = Path(work) / library.name
            command = [compiler, *FLAGS, str(source), "-o", str(built), *(f"-l{name}" for name in libraries), "-lm"]
            subprocess.run(command, capture_output=True, check=True, timeout=BUILD_SECONDS)
            built.replace(library)
    return library


def _processor() -> bytes:
    """What -march=native looks at: a cache may be shared by machines of several kinds."""
    try:
        lines = Path("/proc/cpuinfo").read_bytes().split(b"\n")
    except OSError:
        return b""
    return b"\n".join(sorted({line for line in lines if line.startswith((b"flags", b"model name", b"Features"))}))
