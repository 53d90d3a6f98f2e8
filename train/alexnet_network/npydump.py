"""Weights dumped by numpy.save of a dict: unpickled into arrays, numbers and containers, by functions of ours alone."""

import io
import math
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet_shards.errors import FormatError
from alexnet_shards.parsing import PARSING_ERRORS, read_npy_header

MAX_ITEMS = 1_000_000  # opcodes of a dump; the published ones have some hundreds
DUMP_ERRORS = (*PARSING_ERRORS, pickle.UnpicklingError, SystemError)  # SystemError: CPython's own bytearray opcode


def read_npy(path: Path) -> dict[str, list[npt.NDArray[np.float32]]]:
    """[weights, biases] of each layer of {layer: [weights, biases]} or {layer: {"weights": …, "biases": …}}, float32.

    Raises FormatError where the file is something else, or asks to run code.
    """
    try:
        content = path.read_bytes()
        file = io.BytesIO(content)
        header = read_npy_header(file)
        if header.descr not in ("'|O'", "'O'") or header.shape != ():
            raise ValueError(f"it holds {header.descr[:40]} of shape {header.shape}")
        found = _load(content[header.data :])
        layers = {_text(name): [_float32(part) for part in _pair(value)] for name, value in found.items()}
    except FileNotFoundError as error:
        raise FormatError(f"{path}: no such file; expected a .npy dump") from error
    except DUMP_ERRORS as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise FormatError(
            f"{path}: not a .npy dump of layers ({reason[:200]}); expected a dict of weights and biases"
        ) from error
    if not layers:
        raise FormatError(f"{path}: no layer in it; expected a dict of weights and biases")
    return layers


class _Array:
    """An array in a pickle: its state is checked, and its bytes are taken as plain numbers of its dtype."""

    __slots__ = ("value",)

    def __setstate__(self, state: object) -> None:
        match state:
            case (_, tuple(shape), _Dtype() as dtype, bool() | int() as fortran, bytes() | list() | str() as content):
                self.value = dtype.array(content, shape, "F" if fortran else "C")
            case _:
                raise ValueError("the state of an array is damaged")


class _Dtype:
    """A dtype in a pickle: of numbers, or of objects; of its state the byte order alone is looked at."""

    __slots__ = ("kind", "order")

    def __init__(self, kind: str) -> None:
        self.kind, self.order = kind, "="

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or _text(state[1]) not in ("<", ">", "|", "="):
            raise ValueError("the state of a dtype is damaged")
        self.order = _text(state[1])

    def array(self, content: bytes | list[object] | str, shape: tuple[object, ...], order: Any) -> object:
        """The array of this dtype and shape in `content`, or the one object in it."""
        sizes = [size for size in shape if isinstance(size, int) and 0 <= size < 2**40]
        if len(sizes) != len(shape) or len(sizes) > 8:
            raise ValueError("an array's shape is damaged")
        if self.kind == "O8":
            if not isinstance(content, list) or len(content) != 1 or sizes:
                raise ValueError("an array of objects inside the dump")
            return content[0]
        if isinstance(content, list):
            raise ValueError("an array without its bytes")
        raw = content.encode("latin-1") if isinstance(content, str) else content  # a byte string of Python 2
        dtype = np.dtype(self.kind).newbyteorder(self.order if self.order != "|" else "=")  # type: ignore[arg-type]
        if math.prod(sizes) * dtype.itemsize != len(raw):
            raise ValueError(f"an array of shape {tuple(sizes)} with {len(raw)} bytes")
        return np.frombuffer(raw, dtype).reshape(sizes, order=order)


def _reconstruct(_subtype: object, _shape: object, _kind: object) -> _Array:
    return _Array()


def _from_buffer(content: object, dtype: object, shape: object, order: object) -> object:
    if not isinstance(dtype, _Dtype) or not isinstance(shape, tuple) or order not in ("C", "F"):
        raise ValueError("an array's buffer is damaged")
    if not isinstance(content, bytes | bytearray | pickle.PickleBuffer):
        raise ValueError("an array's buffer is no bytes")
    return dtype.array(bytes(content), shape, order)


def _make_dtype(kind: object, _align: object = False, _copy: object = True) -> _Dtype:
    text = _text(kind) if isinstance(kind, str | bytes) else ""
    if text not in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "O8"):
        raise ValueError(f"a dtype of {text[:20]!r}")
    return _Dtype(text)


def _encode(text: object, encoding: object = "latin1") -> bytes:
    if not isinstance(text, str) or _text(encoding) not in ("latin1", "latin-1"):
        raise ValueError("a text in another encoding")
    return text.encode("latin-1")


class _Marker:
    """What stands for numpy.ndarray where an array says its class."""


# What an array is pickled with, by the names of NumPy 1 and 2, and what of ours stands for it.
STAND_INS: dict[tuple[str, str], object] = {
    ("numpy", "ndarray"): _Marker,
    ("numpy", "dtype"): _make_dtype,
    ("_codecs", "encode"): _encode,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
}


class ArraysOnly(pickle.Unpickler):
    """An unpickler whose every class and function is one of STAND_INS."""

    def find_class(self, module: str, name: str) -> Any:
        """What stands for the class or function; raises UnpicklingError where nothing does."""
        if (module, name) not in STAND_INS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return STAND_INS[module, name]


def _load(content: bytes) -> dict[object, object]:
    """The dict in a pickle; its opcodes are looked at first, as some take memory before their bytes are there."""
    for number, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        too_large = isinstance(argument, int) and "PUT" in opcode.name and argument > number
        if too_large or number > MAX_ITEMS or opcode.name in ("PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4"):
            raise ValueError(f"its opcode {number} is {opcode.name} of {str(argument)[:20]}")
    # Dumps of Python 2 hold byte strings; latin1 keeps each byte of an array's buffer.
    found = ArraysOnly(io.BytesIO(content), encoding="latin1").load()
    value = found.value if isinstance(found, _Array) else found
    if not isinstance(value, dict):
        raise TypeError(f"it holds {type(value).__name__}")
    return value


def _float32(part: object) -> npt.NDArray[np.float32]:
    return np.asarray(part.value if isinstance(part, _Array) else part, np.float32)


def _pair(value: Any) -> list[Any]:
    """[weights, biases] of a layer's entry."""
    if isinstance(value, dict):
        named = {_text(key): part for key, part in value.items()}
        return [named["weights"], named["biases"]]
    weights, biases = value
    return [weights, biases]


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
