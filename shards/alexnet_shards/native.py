"""Small C sources, compiled once by the machine's own compiler, kept in the user's cache, and never required."""

import ctypes
import functools
import hashlib
import logging
import os
import shutil
import stat
import tempfile
from pathlib import Path

from alexnet_shards.errors import AlexnetError, FileError
from alexnet_shards.files import own_directory, worded, write_atomic
from alexnet_shards.processes import run_program

LOGGER = logging.getLogger(__name__)
# No -ffast-math: its start-up code would flush subnormals to zero in the whole process.
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared")
BUILD_SECONDS = 60
DIGEST_BYTES = 32  # behind the library: its sha256; to map a cut library would end the process

Signatures = tuple[tuple[str, type | None, tuple[type, ...]], ...]


@functools.cache
def load_library(source: Path, signatures: Signatures, libraries: tuple[str, ...] = ()) -> ctypes.CDLL | None:
    """The library of a C source, compiled at the first call on this machine (about a second), linked with `libraries`.

    `signatures` are (function, result, arguments) of every function that is called. None where it cannot be had (no
    compiler, no home, an unwritable cache) or ALEXNET_KERNELS=off: callers then do the same work in numpy or torch, with
    the same results, slower.
    """
    if os.environ.get("ALEXNET_KERNELS") == "off":
        return None
    compiler = next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)
    if compiler is None:
        LOGGER.info("no C compiler: %s does its work without, which is slower", source.stem)
        return None
    try:
        return _load(source, compiler, signatures, libraries)
    except (OSError, AlexnetError) as error:
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


def _load(source: Path, compiler: str, signatures: Signatures, libraries: tuple[str, ...]) -> ctypes.CDLL:
    """From the cache where it is whole and nobody else may write there, else built, and kept if it may be."""
    home = cache_home()
    key = _key(source, compiler, libraries)
    try:
        directory = own_directory(own_directory(home, private=True) / "libraries", private=True)
    except FileError as error:
        if not home.exists() or not os.access(home, os.X_OK) or "others may write" not in str(error):
            raise
        LOGGER.warning("%s; %s is built for this process alone", error, source.name)
        return _open_apart(_build(source, compiler, libraries), signatures)
    kept = directory / f"{source.stem}-{key}.so"
    if _is_whole(kept):
        try:
            return _declare(ctypes.CDLL(str(kept)), signatures)
        except (OSError, AttributeError) as error:
            LOGGER.info("%s: %s; it is built again", kept, error)
    content = _build(source, compiler, libraries)
    write_atomic(kept, content + hashlib.sha256(content).digest(), private=True)
    # Not by the same name: the system would give back what was mapped by it before.
    return _open_apart(content, signatures)


def _declare(library: ctypes.CDLL, signatures: Signatures) -> ctypes.CDLL:
    """Raises AttributeError where a function is missing."""
    for name, result, arguments in signatures:
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def _open_apart(content: bytes, signatures: Signatures) -> ctypes.CDLL:
    """A library that is in no cache: its file may go once it is mapped."""
    with tempfile.TemporaryDirectory() as work:
        path = Path(work) / "library.so"
        write_atomic(path, content, private=True)
        return _declare(ctypes.CDLL(str(path)), signatures)


def _is_whole(path: Path) -> bool:
    """Whether the file is this user's alone and what was written."""
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            return False
        content = path.read_bytes()
    except OSError:
        return False
    return hashlib.sha256(content[:-DIGEST_BYTES]).digest() == content[-DIGEST_BYTES:]


def _key(source: Path, compiler: str, libraries: tuple[str, ...]) -> str:
    """What the library depends on: source, headers, compiler, linker, the libraries it is linked with, the processor."""
    parts = [source.read_bytes(), " ".join(FLAGS).encode(), _processor()]
    parts += [_said([compiler, word]) for word in ("--version", "-Wl,--version")]
    if libraries:
        parts.append(_said([compiler, "-E", "-P", source]))
    for name in libraries:
        found = Path(os.path.realpath(os.fsdecode(_said([compiler, f"-print-file-name=lib{name}.so"]).strip())))
        size = found.stat().st_size if found.is_file() else -1
        parts.append(f"{found} {size}".encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _said(command: list[str | Path]) -> bytes:
    """What a tool says; nothing where it fails, which the build will tell."""
    try:
        return run_program(command, BUILD_SECONDS)
    except AlexnetError:
        return b""


def _build(source: Path, compiler: str, libraries: tuple[str, ...]) -> bytes:
    """The library's bytes, compiled in a private folder."""
    with tempfile.TemporaryDirectory() as work, worded(source, "compiled"):
        built = Path(work) / "library.so"
        linked = [f"-l{name}" for name in libraries]
        run_program([compiler, *FLAGS, source, "-o", built, *linked, "-lm"], BUILD_SECONDS)
        return built.read_bytes()


def _processor() -> bytes:
    """What -march=native looks at: a cache may be shared by machines of several kinds."""
    try:
        lines = Path("/proc/cpuinfo").read_bytes().split(b"\n")
    except OSError:
        return b""
    return b"\n".join(sorted({line for line in lines if line.startswith((b"flags", b"model name", b"Features"))}))
