"""The plan of a drawn source: which photo is in which archive, under which name, in which order, and how encoded."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from alexnet_drawn.draw import draw_photo
from alexnet_drawn.drawnkit import DrawnClass, invent_classes
from alexnet_drawn.odd import PHOTO, UNAVAILABLE, encode_photo

TRAIN, VAL, TEST, PATCH, LEFTOVER, LAYOUT = range(6)
# In the order of their worth: a source too small for all holds the first.
TRAIN_ODD = (
    *(UNAVAILABLE, "gzip", "cmyk", "png_rgb", "gray", "truncated", "garbage", "exif_orientation", "ycck"),
    *("trailing_bytes", "one_pixel_wide", "png_rgba", "png_palette", UNAVAILABLE, "gray", UNAVAILABLE),
)
VAL_ODD = (UNAVAILABLE, "cmyk", "gray")
TEST_ODD = (UNAVAILABLE, "cmyk")
ODD_SHARE = 0.5


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One image file to make: its name, 0-based class, kind of file, and the key (split, number) of its randomness."""

    name: str
    class_number: int
    key: tuple[int, int]
    kind: str = PHOTO


@dataclass(frozen=True, kw_only=True)
class SamplePlan:
    """Shots in archive order (`train`: one tuple a class tar), 1-based IDs in number order, and the classes."""

    classes: tuple[DrawnClass, ...]
    train: tuple[tuple[Shot, ...], ...]
    val: tuple[Shot, ...]
    test: tuple[Shot, ...]
    patches: dict[str, tuple[Shot, ...]]
    dotfile: Shot
    val_ids: tuple[int, ...]
    test_ids: tuple[int, ...]

    def shots(self) -> tuple[Shot, ...]:
        """All shots in the order in which the archives hold them; the dotfile ends the first class tar."""
        first, *rest = self.train
        patches = (shot for shots in self.patches.values() for shot in shots)
        return (*first, self.dotfile, *(s for shots in rest for s in shots), *self.val, *self.test, *patches)


def plan_sample(sizes: dict[str, Any]) -> SamplePlan:
    """The plan for `sizes`: edition, classes, train_per_class, val_per_class, test_per_class, seed."""
    rng = np.random.default_rng([sizes["seed"], LAYOUT])
    year, count, per_class = sizes["edition"], sizes["classes"], sizes["train_per_class"]
    patchable = year == "2010"
    classes = invent_classes(count, per_class, rng)
    train = _with_odd(_train_shots(classes, per_class, rng), TRAIN_ODD, patchable, rng)
    by_class = [tuple(s for s in train if s.class_number == number) for number in rng.permutation(count)]
    if [shots[0].name for shots in by_class] == sorted(shots[0].name for shots in by_class):
        by_class.reverse()
    val, val_ids = _numbered_shots(f"ILSVRC{year}_val", VAL, count, sizes["val_per_class"], rng)
    test, test_ids = _numbered_shots(f"ILSVRC{year}_test", TEST, count, sizes["test_per_class"], rng)
    val = _with_odd(val, VAL_ODD, patchable, rng)
    test = _with_odd(test, TEST_ODD, patchable, rng)
    return SamplePlan(
        classes=classes,
        train=tuple(by_class),
        val=tuple(val),
        test=tuple(test),
        patches={split: _patches(shots) for split, shots in (("train", train), ("val", val), ("test", test))}
        if patchable
        else {},
        dotfile=Shot(
            name=f".{by_class[0][0].name}.lVUKt8",
            class_number=by_class[0][0].class_number,
            key=(LEFTOVER, 0),
            kind="truncated",
        ),
        val_ids=val_ids,
        test_ids=test_ids,
    )


def render_shot(seed: int, shot: Shot) -> bytes:
    """The bytes of one image file: a pure function of the seed and the shot."""
    rng = np.random.default_rng([seed, *shot.key])
    width_px, height_px = _size(rng)
    return encode_photo(shot.kind, draw_photo(shot.class_number, rng, width_px, height_px), rng)


def _size(rng: np.random.Generator) -> tuple[int, int]:
    """Width and height in pixels: mostly around 400 x 300, some smaller than 256, a few with 600 and more."""
    chance = rng.random()
    low, high = (120, 255) if chance < 0.14 else (600, 680) if chance > 0.97 else (256, 375)
    short = int(rng.integers(low, high + 1))
    long = short if rng.random() < 0.1 else int(short * rng.uniform(1.1, 1.6))
    return (short, long) if rng.random() < 0.3 else (long, short)


def _train_shots(classes: Sequence[DrawnClass], per_class: int, rng: np.random.Generator) -> list[Shot]:
    """Every class's shots; the numbers in their names have gaps, and their order is not that of the numbers."""
    shots = []
    for number, drawn in enumerate(classes):
        names = rng.choice(16 * per_class, per_class, replace=False) + 1
        shots += [
            Shot(name=f"{drawn.wnid}_{name}.JPEG", class_number=number, key=(TRAIN, number * per_class + k))
            for k, name in enumerate(names)
        ]
    return shots


def _numbered_shots(
    stem: str, split: int, count: int, per_class: int, rng: np.random.Generator
) -> tuple[list[Shot], tuple[int, ...]]:
    """Shots numbered from 1 with mixed classes, in a shuffled order; the 1-based class ID of each number."""
    ids = rng.permutation(np.repeat(np.arange(1, count + 1), per_class)).tolist()
    shots = [
        Shot(name=f"{stem}_{k + 1:08d}.JPEG", class_number=ids[k] - 1, key=(split, k))
        for k in rng.permutation(len(ids)).tolist()
    ]
    return shots, tuple(ids)


def _with_odd(shots: list[Shot], kinds: Sequence[str], patchable: bool, rng: np.random.Generator) -> list[Shot]:
    """The shots with `kinds` given to some of them; what only a patch can mend needs an edition with patches."""
    kinds = [kind for kind in kinds if patchable or kind != UNAVAILABLE][: int(len(shots) * ODD_SHARE)]
    places = rng.choice(len(shots), len(kinds), replace=False).tolist()
    given = dict(zip(places, kinds, strict=True))
    return [
        Shot(name=s.name, class_number=s.class_number, key=s.key, kind=given.get(k, PHOTO)) for k, s in enumerate(shots)
    ]


def _patches(shots: Sequence[Shot]) -> tuple[Shot, ...]:
    damaged = [shot for shot in shots if shot.kind == UNAVAILABLE]
    return tuple(
        Shot(name=shot.name, class_number=shot.class_number, key=(PATCH, 1_000_000_000 * shot.key[0] + shot.key[1]))
        for shot in damaged
    )
