"""The development kit of a drawn source: a real meta.mat and ground truth, in the official archive layout."""

import gzip
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from scipy.io import savemat

from alexnet_drawn.draw import CLASS_NAMES
from alexnet_drawn.tarwrite import directory_header, end_tar, write_member

MAT_HEADER = b"MATLAB 5.0 MAT-file, Platform: GLNXA64, Created on: Sun Mar  7 22:13:00 2010".ljust(116)
MAT_HEADER_BYTES = 116
SHAPES = ("disc, disk", "star", "crosses, plus signs")


@dataclass(frozen=True, kw_only=True)
class DrawnClass:
    """One drawn class: its 1-based devkit ID, invented WNID, words and number of training images."""

    official_id: int
    wnid: str
    words: str
    num_train_images: int


def invent_classes(count: int, num_train_images: int, rng: np.random.Generator) -> tuple[DrawnClass, ...]:
    """`count` classes with WNIDs n9xxxxxxx of which none has the same place in devkit order and in WNID order."""
    wnids = sorted(f"n9{number:07d}" for number in rng.choice(9_000_000, count, replace=False))
    places = rng.permutation(count)
    while (places == np.arange(count)).any():
        places = rng.permutation(count)
    return tuple(
        DrawnClass(official_id=k + 1, wnid=wnids[place], words=CLASS_NAMES[k], num_train_images=num_train_images)
        for k, place in enumerate(places)
    )


def write_devkit(file: BinaryIO, edition: str, classes: Sequence[DrawnClass], val_ids: Sequence[int]) -> None:
    """Write the devkit's tar.gz of `edition` into `file`; equal arguments give equal bytes."""
    top = "devkit-1.0/" if edition == "2010" else "ILSVRC2012_devkit_t12/"
    with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as archive:
        archive.write(directory_header(top) + directory_header(f"{top}data/"))
        size = 2 * 512
        size += write_member(archive, f"{top}data/meta.mat", meta_mat(edition, classes))
        truth = f"{top}data/ILSVRC{edition}_validation_ground_truth.txt"
        size += write_member(archive, truth, ground_truth(val_ids))
        end_tar(archive, size)


def ground_truth(ids: Sequence[int]) -> bytes:
    """A ground truth file: the 1-based class ID of image k on line k."""
    return "".join(f"{official_id}\n" for official_id in ids).encode()


def meta_mat(edition: str, classes: Sequence[DrawnClass]) -> bytes:
    """meta.mat with the struct `synsets`, leaves first and inner nodes after them; 2010's has a cost matrix too."""
    count = len(classes)
    is_shape = np.array([c.words in SHAPES for c in classes])
    groups = [
        (words, gloss, np.flatnonzero(members) + 1, 1)
        for words, gloss, members in (
            ("texture", "a surface with a pattern that repeats", ~is_shape),
            ("shape", "a figure with one outline, or a few", is_shape),
        )
        if members.any()  # without children it would be a leaf, and so a class
    ]
    below = count + 2 + np.arange(len(groups))
    inner = [("drawing", "a picture made by hand or by machine", below, 2), *groups]
    # Some official leaves have a height above 0 too: no criterion for a class.
    rows: list[tuple[Any, ...]] = [
        _row(
            c.official_id,
            (c.wnid, c.words, f"a drawn picture of {c.words}"),
            np.empty(0),
            int(k == 1),
            c.num_train_images,
        )
        for k, c in enumerate(classes)
    ]
    for k, (words, gloss, children, height) in enumerate(inner):
        rows.append(_row(count + 1 + k, (f"n9{9_000_000 + k}", words, gloss), children, height, 0))
    names = ("WNID", "words", "gloss", "num_children", "children", "wordnet_height", "num_train_images")
    synsets = np.empty((len(rows), 1), [(name, "O") for name in (f"ILSVRC{edition}_ID", *names)])
    for k, row in enumerate(rows):
        synsets[k, 0] = row
    contents: dict[str, Any] = {"synsets": synsets}
    if edition == "2010":
        cost = np.where(is_shape[:, None] == is_shape[None, :], 1, 3).astype(np.uint8)
        np.fill_diagonal(cost, 0)
        contents = {"cost_matrix": cost, **contents}
    buffer = io.BytesIO()
    savemat(buffer, contents, do_compression=True, oned_as="row")
    # scipy puts the machine and the time into the header text.
    return MAT_HEADER + buffer.getvalue()[MAT_HEADER_BYTES:]


def _row(
    official_id: int, names: tuple[str, str, str], children: npt.NDArray[Any], height: int, num_train_images: int
) -> tuple[Any, ...]:
    """One synset; `names` are its WNID, words and gloss, `children` (K,) the IDs below it."""
    listed = _smallest(children).reshape(1, -1)
    numbers = (_smallest(listed.size), listed, _smallest(height), _smallest(num_train_images))
    return _smallest(official_id), *names, *numbers


def _smallest(value: Any) -> npt.NDArray[Any]:
    """(1, K) of the smallest unsigned type that holds `value`, as MATLAB stores whole numbers."""
    numbers = np.atleast_2d(np.asarray(value))
    return numbers.astype(np.min_scalar_type(int(numbers.max())) if numbers.size else np.uint8)
