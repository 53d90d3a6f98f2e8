"""Weights dumped by numpy.save of a dict: unpickled with nothing but arrays, numbers and containers allowed."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet_shards.errors import FormatError

# What an array is pickled with, by the names of NumPy 1 and 2; nothing of it runs code of the file.
ALLOWED = {
    (f"numpy.{core}.{module}", name)
    for core in ("core", "_core")
    for module, name in (("multiarray", "_reconstruct"), ("multiarray", "scalar"), ("numeric", "_frombuffer"))
} | {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}


class ArraysOnly(pickle.Unpickler):
    """An unpickler that refuses everything but NumPy's arrays."""

    def find_class(self, module: str, name: str) -> Any:
        """The class or function of that name; raises UnpicklingError where it is not one of ALLOWED."""
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)


def read_npy(path: Path) -> dict[str, list[npt.NDArray[np.float32]]]:
    """[weights, biases] of each layer of {layer: [weights, biases]} or {layer: {"weights": …, "biases": …}}, float32.

    Raises FormatError where the file is something else, or asks to run code.
    """
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            _, _, dtype = read_header[version](file)
            # Dumps of Python 2 hold byte strings; latin1 keeps each byte of an array's buffer.
            found: Any = ArraysOnly(file, encoding="latin1").load().item() if dtype.hasobject else None
        layers = {_text(name): [np.asarray(part, np.float32) for part in _pair(value)] for name, value in found.items()}
    except FileNotFoundError as error:
        raise FormatError(f"{path}: no such file; expected a .npy dump") from error
    # A damaged pickle can fail in any way that its opcodes can.
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise FormatError(
            f"{path}: not a .npy dump of layers ({reason}); expected a dict of weights and biases"
        ) from error
    if not layers:
        raise FormatError(f"{path}: no layer in it; expected a dict of weights and biases")
    return layers


def _pair(value: Any) -> list[Any]:
    """[weights, biases] of a layer's entry."""
    if isinstance(value, dict):
        named = {_text(key): part for key, part in value.items()}
        return [named["weights"], named["biases"]]
    weights, biases = value
    return [weights, biases]


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
