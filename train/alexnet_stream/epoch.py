"""The epoch table: order, crop, flip and colour noise of every sample, a pure function of (seed, epoch)."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from alexnet_shards.geometry import CROP_POSITIONS

PIECE_SAMPLES = 1 << 16

# Each use of randomness has a stream of its own, so that one can be switched off without moving the others.
ORDER_STREAM, CROP_STREAM, NOISE_STREAM, SHARD_STREAM, LASTING_STREAM = range(5)


@dataclass(frozen=True, kw_only=True, eq=False)
class EpochTable:
    """What an epoch does to every sample, by position in the epoch: all arrays are (N,), `noise_z` is (N, 3).

    `rows` int64 index row of the sample; `crop_top_px` and `crop_left_px` uint8 0..32 of the 224 crop; `flip` bool,
    mirror left-right; `noise_z` float32 standard normals of the colour noise (paper section 4.1).
    """

    rows: npt.NDArray[np.int64]
    crop_top_px: npt.NDArray[np.uint8]
    crop_left_px: npt.NDArray[np.uint8]
    flip: npt.NDArray[np.bool_]
    noise_z: npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Windows:
    """Order by windows: `shards_in_window` shards are read at a time. `shard_of_row` is (N,) unsigned, from 0."""

    shard_of_row: npt.NDArray[np.uint32]
    shards_in_window: int


def epoch_table(
    num_samples: int,
    seed: int,
    epoch: int,
    *,
    shuffle: bool = True,
    crop: Literal["random", "centre", "none"] = "random",
    windows: Windows | None = None,
) -> EpochTable:
    """The table of `epoch`: every sample once; the same arguments give the same table on every machine.

    `shuffle` False keeps the order of the index; `crop` "centre" takes every crop there, "none" also has no flip and
    zero noise, for whole images, and neither moves the order. `windows` None draws a global
    permutation, else shards are permuted and samples shuffled within a window of shards.
    """
    rows = _permutation(num_samples, seed, epoch, windows) if shuffle else np.arange(num_samples, dtype=np.int64)
    crops = _crops(num_samples, _bits(seed, epoch, CROP_STREAM)) if crop != "none" else {}
    if crop != "random":
        crops |= dict.fromkeys(("crop_top_px", "crop_left_px"), np.full(num_samples, CROP_POSITIONS // 2, np.uint8))
    if crop == "none":
        crops["flip"] = np.zeros(num_samples, np.bool_)
    generator = np.random.Generator(_bits(seed, epoch, NOISE_STREAM))
    shape = (num_samples, 3)
    noise_z = np.zeros(shape, np.float32) if crop == "none" else generator.standard_normal(shape, np.float32)
    return EpochTable(rows=rows, **crops, noise_z=noise_z)


def lasting_flips(num_samples: int, seed: int) -> npt.NDArray[np.bool_]:
    """(num_samples,) bool by index row: a flip for each sample that is the same in every epoch.

    No published run did so on purpose; replications that seed a generator by the file's name do (InputConfig.flip_once).
    """
    return _crops(num_samples, _bits(seed, 0, LASTING_STREAM))["flip"]


def _crops(num_samples: int, generator: np.random.Philox) -> dict[str, npt.NDArray[Any]]:
    """Crop rows, columns and flips: 64 random bits a sample, 32 for the row, 31 for the column, one for the flip.

    Scaling 31 bits to 0..32 is biased by less than 2^-25. Piece by piece, so that no large array comes and goes.
    """
    top_px, left_px = np.empty(num_samples, np.uint8), np.empty(num_samples, np.uint8)
    flip = np.empty(num_samples, np.bool_)
    for begin in range(0, num_samples, PIECE_SAMPLES):
        piece = slice(begin, min(begin + PIECE_SAMPLES, num_samples))
        bits = generator.random_raw(piece.stop - begin)
        low, middle = bits & np.uint64(0xFFFFFFFF), (bits >> np.uint64(32)) & np.uint64(0x7FFFFFFF)
        top_px[piece] = (low * np.uint64(CROP_POSITIONS)) >> np.uint64(32)
        left_px[piece] = (middle * np.uint64(CROP_POSITIONS)) >> np.uint64(31)
        flip[piece] = bits >> np.uint64(63)
    return {"crop_top_px": top_px, "crop_left_px": left_px, "flip": flip}


def _bits(seed: int, epoch: int, stream: int) -> np.random.Philox:
    """A counter-based generator of its own for every (seed, epoch, stream)."""
    return np.random.Philox(key=np.array([seed, epoch], np.uint64), counter=np.array([0, 0, 0, stream], np.uint64))


def _permutation(num_samples: int, seed: int, epoch: int, windows: Windows | None) -> npt.NDArray[np.int64]:
    """Sort random keys that end in the row: all differ, so that any sorting algorithm gives the same order.

    Unlike Generator.permutation, raw bits are the same in every version of NumPy.
    """
    row_bits = max(1, num_samples - 1).bit_length()
    keys = _bits(seed, epoch, ORDER_STREAM).random_raw(num_samples)
    if windows is not None:
        window_of_shard = _window_of_shard(seed, epoch, windows)
        window_bits = int(window_of_shard.max(initial=1)).bit_length()
        keys >>= np.uint64(window_bits)
        keys |= window_of_shard[windows.shard_of_row] << np.uint64(64 - window_bits)
    keys = (keys >> np.uint64(row_bits) << np.uint64(row_bits)) | np.arange(num_samples, dtype=np.uint64)
    keys.sort()
    keys &= np.uint64((1 << row_bits) - 1)
    return keys.view(np.int64)


def _window_of_shard(seed: int, epoch: int, windows: Windows) -> npt.NDArray[np.uint64]:
    """Window of each shard, counted from 0 in the order in which windows are read."""
    num_shards = int(windows.shard_of_row.max(initial=0)) + 1
    shard_order = np.argsort(_bits(seed, epoch, SHARD_STREAM).random_raw(num_shards), kind="stable")
    window_of_shard = np.empty(num_shards, np.uint64)
    window_of_shard[shard_order] = np.arange(num_shards, dtype=np.uint64) // np.uint64(windows.shards_in_window)
    return window_of_shard
