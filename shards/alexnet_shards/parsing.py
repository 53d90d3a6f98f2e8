"""Metadata files that someone else made: read within a size, parsed strictly, one line for whatever is wrong with them."""

import json
import math
import re
import struct
import tomllib
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt

from alexnet_shards.errors import FormatError

# What the parsers of the standard library raise for damaged input, found by fuzzing them.
PARSING_ERRORS = (
    ValueError,  # UnicodeDecodeError, JSONDecodeError, TOMLDecodeError, too many digits
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    EOFError,
    MemoryError,
    OSError,
    RuntimeError,  # RecursionError, NotImplementedError, an encrypted zip
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
MAX_JSON_BYTES = 128 << 20
MAX_JSON_VALUES = 4_000_000  # of some 60 bytes each once they are objects
MAX_TOML_BYTES = 256 << 10
MAX_NPZ_BYTES = 64 << 20
MAX_NPY_HEADER_BYTES = 4096
NPY_MAGIC = b"\x93NUMPY"
# The header as every numpy writes it; it is compared and matched, never evaluated.
NPY_HEADER = re.compile(
    r"\{'descr': (?P<descr>.+), 'fortran_order': (?P<fortran>True|False), 'shape': \((?P<shape>[0-9, ]*)\), \} *\n"
)
LARGEST_LENGTH = 2**40


@dataclass(frozen=True, kw_only=True)
class Where:
    """The file that is read, what it should be ("index"), and what to do where it is not ("make it again with …")."""

    path: Path
    what: str
    remedy: str

    def unreadable(self, reason: object) -> FormatError:
        """The one line for a file that cannot be parsed."""
        words = " ".join(str(reason).split()) or type(reason).__name__
        return FormatError(f"{self.path}: unreadable {self.what} ({words[:200]}); {self.remedy}")

    def wrong(self, reason: str) -> FormatError:
        """The one line for a file that can be parsed and says what cannot be."""
        return FormatError(f"{self.path}: damaged {self.what} ({reason}); {self.remedy}")


def read_bounded(where: Where, limit: int) -> bytes:
    """The whole file, a regular one of at most `limit` bytes; raises FileNotFoundError, and FormatError for the rest."""
    try:
        with where.path.open("rb") as file:
            content = file.read(limit + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise where.unreadable(error.strerror) from error
    if len(content) > limit:
        raise where.unreadable(f"over {limit:,} bytes")
    return content


def load_json(where: Where, limit: int = MAX_JSON_BYTES) -> Any:
    """The value in a JSON file: finite numbers only, a bounded count of values.

    Raises FileNotFoundError, and FormatError for everything else that can be wrong.
    """
    return parse_json(read_bounded(where, limit), where)


def load_json_object(where: Where, limit: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """The object in a JSON file that is made again where it is lost: {} where none is there, or it is damaged."""
    try:
        content = load_json(where, limit)
    except (FileNotFoundError, FormatError):
        return {}
    return content if isinstance(content, dict) else {}


def parse_json(content: bytes, where: Where) -> Any:
    """As `load_json`, of bytes that are at hand; `where` says in the error where they came from."""
    values = sum(map(content.count, (b",", b":", b"[", b"{")))
    if values > MAX_JSON_VALUES:
        raise where.unreadable(f"over {MAX_JSON_VALUES:,} values")
    try:
        return json.loads(content, parse_constant=_refuse_constant, parse_float=_finite)
    except PARSING_ERRORS as error:
        raise where.unreadable(error) from error


def as_json_values(value: Any) -> Any:
    """`value` as JSON gives it back: lists for tuples, for a comparison with what a file holds."""
    return json.loads(json.dumps(value))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:20]} is no finite number")
    return number


def load_toml(where: Where, limit: int = MAX_TOML_BYTES) -> dict[str, Any]:
    """The table in a TOML file; raises FileNotFoundError, and FormatError for everything else that can be wrong."""
    content = read_bounded(where, limit)
    try:
        return tomllib.loads(content.decode())
    except PARSING_ERRORS as error:
        raise where.unreadable(error) from error


def field_types(kind: type) -> dict[str, tuple[type, ...]]:
    """The types that the fields of a dataclass have in JSON, for `check_fields`: its own, a list for a tuple."""
    found: dict[str, tuple[type, ...]] = {}
    for name, hint in get_type_hints(kind).items():
        base = get_origin(hint) or hint
        found[name] = (list,) if base is tuple else (base,)
    return found


def check_fields(kind: type, content: Any, types: Mapping[str, tuple[type, ...]]) -> dict[str, Any]:
    """`content` as the keyword arguments of dataclass `kind`; raises TypeError or ValueError where it is not that.

    `types` names every field with the types it may have; integers must be 0 to 2^63 - 1, booleans are none.
    """
    if not isinstance(content, dict):
        raise TypeError(f"{kind.__name__} is {type(content).__name__}, expected an object")
    for name, value in content.items():
        if name not in types:
            raise TypeError(f"{kind.__name__} has a field {name[:40]!r} that is not known")
        if not isinstance(value, types[name]) or (isinstance(value, bool) and bool not in types[name]):
            raise TypeError(f"{name} is {type(value).__name__}, expected {types[name][0].__name__}")
        if isinstance(value, int) and not 0 <= value < 2**63:
            raise ValueError(f"{name} is not in 0 to 2^63 - 1")
    return content


@dataclass(frozen=True, kw_only=True)
class NpyHeader:
    """The header of a .npy file: the dtype as its text, the shape, and where the data begin."""

    descr: str
    shape: tuple[int, ...]
    data: int

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def read_npy_header(file: BinaryIO) -> NpyHeader:
    """Read the header of a C-ordered .npy file from its start; raises ValueError where it is none."""
    start = file.read(12)
    if start[:6] != NPY_MAGIC or len(start) < 12 or start[6] not in (1, 2, 3):
        raise ValueError("not a .npy file")
    width = 2 if start[6] == 1 else 4
    length = int.from_bytes(start[8 : 8 + width], "little")
    if length > MAX_NPY_HEADER_BYTES:
        raise ValueError(f"a header of {length} bytes")
    text = (start[8 + width :] + file.read(length - (4 - width)))[:length]
    match = NPY_HEADER.fullmatch(text.decode("utf-8" if start[6] == 3 else "latin-1"))
    if len(text) != length or match is None or match["fortran"] == "True":
        raise ValueError("its header is damaged")
    shape = tuple(int(size[:19]) for size in match["shape"].replace(" ", "").split(",") if size)
    if len(shape) > 8 or any(size > LARGEST_LENGTH for size in shape):
        raise ValueError("its shape cannot be")
    return NpyHeader(descr=match["descr"], shape=shape, data=8 + width + length)


def descr_of(dtype: npt.DTypeLike) -> str:
    """How a .npy header writes a dtype."""
    return repr(np.lib.format.dtype_to_descr(np.dtype(dtype)))


def map_npy(where: Where, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Memory-map the (N,) array of `dtype` in a .npy file that holds it and nothing else.

    Raises FileNotFoundError, and FormatError for a damaged file and for another array.
    """
    try:
        with where.path.open("rb") as file:
            header = read_npy_header(file)
            size = file.seek(0, 2)
        if header.descr != descr_of(dtype) or len(header.shape) != 1:
            raise where.wrong(f"it holds {header.descr[:60]} of shape {header.shape}")
        if size != header.data + header.count * dtype.itemsize:
            raise ValueError(f"{size} bytes, expected {header.data + header.count * dtype.itemsize}")
        if header.count == 0:
            return np.empty(0, dtype)
        return np.memmap(where.path, dtype, "r", header.data, header.shape)
    except FileNotFoundError:
        raise
    except PARSING_ERRORS as error:
        raise where.unreadable(error) from error


def load_npz(where: Where, wanted: Mapping[str, int]) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a .npz file, whose names must be those of `wanted` {name: most bytes of its data}.

    Only numbers and texts are read; sizes are looked at before memory is taken. Raises FileNotFoundError, and
    FormatError for a damaged file and for other names.
    """
    try:
        with where.path.open("rb") as file:
            if file.seek(0, 2) > MAX_NPZ_BYTES:
                raise ValueError(f"over {MAX_NPZ_BYTES:,} bytes")
            with zipfile.ZipFile(file) as archive:
                names = {name.removesuffix(".npy") for name in archive.namelist()}
                if names != wanted.keys():
                    raise where.wrong(f"arrays missing or not known: {', '.join(sorted(names ^ wanted.keys()))[:80]}")
                return {name: _read_array(archive, name, limit) for name, limit in wanted.items()}
    except FileNotFoundError:
        raise
    except PARSING_ERRORS as error:
        raise where.unreadable(error) from error


def _read_array(archive: zipfile.ZipFile, name: str, limit: int) -> npt.NDArray[Any]:
    with archive.open(f"{name}.npy") as member:
        header = read_npy_header(member)  # type: ignore[arg-type]
        if re.fullmatch(r"'[<>|=]?[fiuU][0-9]{1,4}'", header.descr) is None:
            raise ValueError(f"{name} holds {header.descr[:40]}")
        dtype = np.dtype(header.descr.strip("'"))
        if header.count * dtype.itemsize > limit:
            raise ValueError(f"{name} has shape {header.shape}")
        content = member.read(limit + 1)
    if len(content) != header.count * dtype.itemsize:
        raise ValueError(f"{name} has {len(content)} bytes of data, expected {header.count * dtype.itemsize}")
    return np.frombuffer(content, dtype).reshape(header.shape).copy()
