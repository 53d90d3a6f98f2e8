"""The epoch table: order, crop, flip and colour noise of every sample, a pure function of (seed, epoch)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

CROP_POSITIONS = 33  # offsets 0..32 of a 224 crop in a 256 image (released configuration, cuda-convnet)

# Each use of randomness has a stream of its own, so that one can be switched off without moving the others.
ORDER_STREAM, CROP_STREAM, NOISE_STREAM, SHARD_STREAM = range(4)


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
    num_samples: int, seed: int, epoch: int, *, shuffle: bool = True, crop: bool = True, windows: Windows | None = None
) -> EpochTable:
    """The table of `epoch`: every sample once; the same arguments give the same table on every machine.

    `shuffle` False keeps the order of the index; `crop` False gives centre crops, no flip and zero noise. `windows`
    None draws a global permutation, else shards are permuted and samples shuffled within a window of shards.
    """
    rows = _permutation(num_samples, seed, epoch, windows) if shuffle else np.arange(num_samples, dtype=np.int64)
    if not crop:
        centre = np.full(num_samples, CROP_POSITIONS // 2, np.uint8)
        zeros = np.zeros((num_samples, 3), np.float32)
        return EpochTable(
            rows=rows, crop_top_px=centre, crop_left_px=centre, flip=np.zeros(num_samples, np.bool_), noise_z=zeros
        )
    # 64 random bits a sample: 32 for the row, 31 for the column (each scaled to 0..32, biased by less than 2^-26),
    # one for the flip.
    bits = _bits(seed, epoch, CROP_STREAM).random_raw(num_samples)
    low, middle = bits & np.uint64(0xFFFFFFFF), (bits >> np.uint64(32)) & np.uint64(0x7FFFFFFF)
    return EpochTable(
        rows=rows,
        crop_top_px=((low * np.uint64(CROP_POSITIONS)) >> np.uint64(32)).astype(np.uint8),
        crop_left_px=((middle * np.uint64(CROP_POSITIONS)) >> np.uint64(31)).astype(np.uint8),
        flip=(bits >> np.uint64(63)).astype(np.bool_),
        noise_z=np.random.Generator(_bits(seed, epoch, NOISE_STREAM)).standard_normal((num_samples, 3), np.float32),
    )


def _bits(seed: int, epoch: int, stream: int) -> np.random.Philox:
    """A counter-based generator of its own for every (seed, epoch, stream)."""
    return np.random.Philox(key=np.array([seed, epoch], np.uint64), counter=np.array([0, 0, 0, stream], np.uint64))


def _permutation(num_samples: int, seed: int, epoch: int, windows: Windows | None) -> npt.NDArray[np.int64]:
    """Sort by random keys: unlike Generator.permutation, raw bits are the same in every version of NumPy."""
    keys = _bits(seed, epoch, ORDER_STREAM).random_raw(num_samples)
    if windows is not None:
        num_shards = int(windows.shard_of_row.max()) + 1 if num_samples else 0
        shard_order = np.argsort(_bits(seed, epoch, SHARD_STREAM).random_raw(num_shards), kind="stable")
        window_of_shard = np.empty(num_shards, np.uint64)
        window_of_shard[shard_order] = np.arange(num_shards, dtype=np.uint64) // np.uint64(windows.shards_in_window)
        # The window goes above 40 random bits; rows with equal bits keep the order of the index.
        keys = (window_of_shard[windows.shard_of_row] << np.uint64(40)) | (keys >> np.uint64(24))
    return np.argsort(keys, kind="stable").astype(np.int64, copy=False)
