"""Weights of a .caffemodel file: Caffe's protocol buffer NetParameter of every age, read without Caffe."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from alexnet_shards.errors import FormatError

Blob = npt.NDArray[np.float32]

# Field numbers of caffe.proto. The oldest layers (V0) lie inside those of V1, one in each.
NET_V1_LAYERS, NET_LAYER, V1_V0_LAYER = 2, 100, 1
BLOB_OLD_SHAPE, BLOB_DATA, BLOB_SHAPE, BLOB_DOUBLES = (1, 2, 3, 4), 5, 7, 8
SHAPE_DIM = 1
MAX_FILE_BYTES = 2 << 30  # of a protocol buffer
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
# The stages that change places between networks, by their names of today and numbers or names of before.
STAGES = {"LRN": "lrn", "Pooling": "pool", 15: "lrn", 17: "pool", "lrn": "lrn", "pool": "pool"}
SOLVER_ITERATION, SOLVER_NET, SOLVER_HISTORY = 1, 2, 3


@dataclass(frozen=True, kw_only=True)
class LayerFields:
    """Where a layer's message has its name, its kind and its blobs."""

    name: int
    kind: int
    blobs: int


V0, V1, TODAY = (
    LayerFields(name=1, kind=2, blobs=50),
    LayerFields(name=4, kind=5, blobs=6),
    LayerFields(name=1, kind=2, blobs=7),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class CaffeLayer:
    """A layer: its name, what it is (a name, a number in V1), and its blobs, weights before biases."""

    name: str
    kind: str | int
    blobs: list[Blob]


def read_caffemodel(path: Path) -> list[CaffeLayer]:
    """The layers of a .caffemodel in the order of the network, those without blobs too.

    Blobs are float32 in Caffe's order (outputs, inputs, rows, columns); old files write a matrix as (1, 1, outputs,
    inputs). Raises FormatError where the file is no NetParameter or has no weights.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise FormatError(f"{path}: {path.stat().st_size:,} bytes; a .caffemodel has at most {MAX_FILE_BYTES:,}")
        content = memoryview(path.read_bytes())
        if _is_solver_state(content):
            raise FormatError(f"{path}: a .solverstate, which holds no weights; name the .caffemodel beside it")
        found = list(_layers(content))
    except FileNotFoundError as error:
        raise FormatError(f"{path}: no such file; expected a .caffemodel") from error
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror}); expected a .caffemodel") from error
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: not a whole .caffemodel ({error}); download it again") from error
    if not any(layer.blobs for layer in found):
        raise FormatError(f"{path}: no layer with weights in it; expected a .caffemodel")
    return found


def order_behind(layers: Sequence[CaffeLayer], first: str, second: str) -> tuple[str, ...]:
    """What stands between two layers of the network, of "lrn" and "pool", in its order; () where one is not there."""
    names = [layer.name for layer in layers]
    if first not in names or second not in names:
        return ()
    between = layers[names.index(first) + 1 : names.index(second)]
    return tuple(STAGES[layer.kind] for layer in between if layer.kind in STAGES)


def _is_solver_state(content: memoryview) -> bool:
    """Whether a file begins as a SolverState: a number first, then a file's name and the history's blobs."""
    try:
        beginning = dict(zip(range(3), fields(content), strict=False))
    except (ValueError, IndexError):
        return False
    numbers = [number for number, _ in beginning.values()]
    return numbers in (
        [SOLVER_ITERATION, SOLVER_NET, SOLVER_HISTORY],
        [SOLVER_ITERATION, SOLVER_HISTORY, SOLVER_HISTORY],
    ) and isinstance(beginning[0][1], int)


def _layers(net: memoryview) -> Iterator[CaffeLayer]:
    for number, message in fields(net):
        if number == NET_LAYER and isinstance(message, memoryview):
            yield _layer(message, TODAY)
        elif number == NET_V1_LAYERS and isinstance(message, memoryview):
            oldest = [value for field, value in fields(message) if field == V1_V0_LAYER]
            inner = next((value for value in oldest if isinstance(value, memoryview)), None)
            yield _layer(message, V1) if inner is None else _layer(inner, V0)


def _layer(message: memoryview, places: LayerFields) -> CaffeLayer:
    name, blobs = "", []
    kind: str | int = ""
    for field, value in fields(message):
        if field == places.name and isinstance(value, memoryview):
            name = bytes(value).decode()
        elif field == places.kind:
            kind = bytes(value).decode() if isinstance(value, memoryview) else value
        elif field == places.blobs and isinstance(value, memoryview):
            blobs.append(_blob(value))
    return CaffeLayer(name=name, kind=kind, blobs=blobs)


def _blob(message: memoryview) -> Blob:
    old_shape: dict[int, int] = {}
    shape: list[int] | None = None
    parts: list[npt.NDArray[np.floating]] = []
    for number, value in fields(message):
        if number in BLOB_OLD_SHAPE and isinstance(value, int):
            old_shape[number] = value
        elif number == BLOB_SHAPE and isinstance(value, memoryview):
            shape = [dim for field, item in fields(value) if field == SHAPE_DIM for dim in _packed(item)]
        elif number in (BLOB_DATA, BLOB_DOUBLES) and isinstance(value, memoryview):
            parts.append(np.frombuffer(value, "<f4" if number == BLOB_DATA else "<f8"))
    if shape is None:
        shape = [old_shape.get(number, 1) for number in BLOB_OLD_SHAPE]
    data = np.concatenate(parts).astype(np.float32) if parts else np.zeros(0, np.float32)
    return data.reshape(shape)


def _packed(value: int | memoryview) -> Iterator[int]:
    """The numbers of a repeated field, which may be written one by one or packed together."""
    if isinstance(value, int):
        yield value
        return
    place = 0
    while place < len(value):
        number, place = _varint(value, place)
        yield number


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(field number, value) of a message: an int, or the bytes of a string, a message, packed or fixed-size numbers.

    Raises ValueError where the bytes are no protocol buffer message.
    """
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        number, kind = tag >> 3, tag & 7
        if kind == VARINT:
            value, place = _varint(message, place)
            yield number, value
            continue
        if kind == BYTES:
            size, place = _varint(message, place)
        elif kind in (FIXED64, FIXED32):
            size = 8 if kind == FIXED64 else 4
        else:
            raise ValueError(f"field {number} of unknown wire type {kind}")
        if place + size > len(message):
            raise ValueError(f"field {number} has {size} bytes, {len(message) - place} are left")
        yield number, message[place : place + size]
        place += size


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """(number, place behind it) of the base-128 number at `place`."""
    number = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            raise ValueError("it ends in the middle of a number")
        byte = message[place]
        place += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, place
    raise ValueError("a number of more than ten bytes")
