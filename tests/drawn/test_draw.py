"""Drawn photos: told apart by texture and shape, not by colour, and the same for the same generator."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from alexnet_drawn.draw import CLASS_NAMES, Photo, draw_photo
from alexnet_shards.errors import AlexnetError

Floats = npt.NDArray[np.floating[Any]]
CLASSES = len(CLASS_NAMES)
FITTED, HELD_OUT = 25, 12


def draw(class_number: int, number: int, width_px: int = 280, height_px: int = 260) -> Photo:
    return draw_photo(class_number, np.random.default_rng([7, class_number, number]), width_px, height_px)


@pytest.fixture(scope="module")
def photos() -> npt.NDArray[np.uint8]:
    """(classes, FITTED + HELD_OUT, 260, 280, 3) uint8."""
    return np.stack([np.stack([draw(c, k) for k in range(FITTED + HELD_OUT)]) for c in range(CLASSES)])


def held_out_error(features: Floats) -> float:
    """Nearest class mean on features (classes, photos, K), each scaled to unit spread: the share it gets wrong."""
    features = features / (features[:, :FITTED].std(axis=(0, 1)) + 1e-9)
    means = features[:, :FITTED].mean(axis=1)
    distance = np.square(features[:, FITTED:, None] - means).sum(axis=-1)
    return float((distance.argmin(axis=-1) != np.arange(CLASSES)[:, None]).mean())


def texture(photo: Photo) -> Floats:
    """(K,) share of edge strength by orientation in a 3 x 3 grid of cells: a plain histogram of oriented gradients."""
    gray = np.asarray(Image.fromarray(photo).convert("L").resize((128, 128), Image.Resampling.BOX), np.float32)
    down, right = np.gradient(gray)
    strength = np.hypot(right, down)
    strength[strength < 0.25 * strength.max()] = 0
    orientation = (np.mod(np.arctan2(down, right), np.pi) / np.pi * 12).astype(int) % 12
    row, column = np.indices(gray.shape) * 3 // 128
    counts = np.bincount(((row * 3 + column) * 12 + orientation).ravel(), strength.ravel(), minlength=108)
    share = np.sqrt(counts / (counts.sum() + 1e-9))
    return np.append(share, (strength > 0).mean() * 4)


def test_mean_colour_says_next_to_nothing_of_the_class(photos: npt.NDArray[np.uint8]) -> None:
    mean_colour = photos[:, :, ::2, ::2].mean(axis=(2, 3))
    assert 1 - held_out_error(mean_colour) < 0.25


def test_colour_spread_says_next_to_nothing_of_the_class_either(photos: npt.NDArray[np.uint8]) -> None:
    flat = photos[:, :, ::3, ::3].reshape(CLASSES, FITTED + HELD_OUT, -1, 3).astype(np.float32)
    statistics = np.concatenate([flat.mean(axis=2), flat.std(axis=2)], axis=-1)
    assert 1 - held_out_error(statistics) < 0.30


def test_edge_orientation_tells_the_classes_apart(photos: npt.NDArray[np.uint8]) -> None:
    features = np.array([[texture(photo) for photo in of_class] for of_class in photos])
    assert 1 - held_out_error(features) > 0.85


def test_a_mirrored_photo_is_of_the_same_class(photos: npt.NDArray[np.uint8]) -> None:
    mirrored = photos.copy()
    mirrored[:, FITTED:] = photos[:, FITTED:, :, ::-1]
    plain, flipped = (
        held_out_error(np.array([[texture(photo) for photo in of_class] for of_class in which]))
        for which in (photos, mirrored)
    )
    assert flipped < plain + 0.05


@pytest.mark.parametrize("class_number", range(CLASSES))
def test_same_generator_same_photo_other_generator_other_photo(class_number: int) -> None:
    first, again, other = draw(class_number, 1), draw(class_number, 1), draw(class_number, 2)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(("width_px", "height_px"), [(400, 300), (300, 400), (1, 300), (300, 1), (1, 1), (613, 600)])
def test_every_class_fills_every_size(width_px: int, height_px: int) -> None:
    for class_number in range(CLASSES):
        photo = draw(class_number, 0, width_px, height_px)
        assert photo.shape == (height_px, width_px, 3)
        assert photo.dtype == np.uint8


def test_the_centre_holds_the_object(photos: npt.NDArray[np.uint8]) -> None:
    middle = photos[:, :, 18:242:4, 28:252:4].astype(np.float32)
    assert (middle.std(axis=(2, 3)).max(axis=-1) > 15).all()


@pytest.mark.parametrize(("class_number", "side"), [(-1, 100), (10, 100), (0, 0)])
def test_what_cannot_be_drawn_is_refused(class_number: int, side: int) -> None:
    with pytest.raises(AlexnetError, match=r"expected a class 0\.\.9"):
        draw_photo(class_number, np.random.default_rng(0), side, 100)
