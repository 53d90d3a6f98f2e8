"""Weights of a .caffemodel file: Caffe's protocol buffer NetParameter, old (V1) and new layers, read without Caffe."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from alexnet_shards.errors import FormatError

Blob = npt.NDArray[np.float32]

# Field numbers of caffe.proto.
NET_V1_LAYERS, NET_LAYER = 2, 100
V1_NAME, V1_BLOBS = 4, 6
LAYER_NAME, LAYER_BLOBS = 1, 7
BLOB_OLD_SHAPE, BLOB_DATA, BLOB_SHAPE, BLOB_DOUBLES = (1, 2, 3, 4), 5, 7, 8
SHAPE_DIM = 1
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def read_caffemodel(path: Path) -> dict[str, list[Blob]]:
    """Blobs of each layer that has some: weights, then biases, float32 in Caffe's order (outputs, inputs, rows, columns).

    Old files write a matrix as (1, 1, outputs, inputs). Raises FormatError where the file is no NetParameter.
    """
    try:
        found = dict(_layers(memoryview(path.read_bytes())))
    except FileNotFoundError as error:
        raise FormatError(f"{path}: no such file; expected a .caffemodel") from error
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: not a whole .caffemodel ({error}); download it again") from error
    if not found:
        raise FormatError(f"{path}: no layer with weights in it; expected a .caffemodel")
    return found


def _layers(net: memoryview) -> Iterator[tuple[str, list[Blob]]]:
    places = {NET_V1_LAYERS: (V1_NAME, V1_BLOBS), NET_LAYER: (LAYER_NAME, LAYER_BLOBS)}
    for number, layer in fields(net):
        if number not in places or not isinstance(layer, memoryview):
            continue
        name_field, blobs_field = places[number]
        name, blobs = "", []
        for field, value in fields(layer):
            if field == name_field and isinstance(value, memoryview):
                name = bytes(value).decode()
            elif field == blobs_field and isinstance(value, memoryview):
                blobs.append(_blob(value))
        if blobs:
            yield name, blobs


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
