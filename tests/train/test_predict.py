"""Predictions: the same pixels as the shards', the order of probabilities, refusals."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from alexnet_network.classifier import Classifier
from alexnet_network.input import DeviceStats
from alexnet_network.model import AlexNet
from alexnet_pixels.convert import convert
from alexnet_pixels.recipe import PixelRecipe
from alexnet_shards.errors import AlexnetError
from alexnet_shards.manifest import ClassFact
from alexnet_shards.stats import Stats
from alexnet_train.predict import load_image, predict
from alexnet_train.recipe import load_recipe


@pytest.fixture
def classifier() -> Classifier:
    recipe = load_recipe("demo", ["width=0.0625", "num_classes=7"])
    stats = Stats(
        mean_image_hwc=np.full((256, 256, 3), 120, np.float32),
        rgb_mean=np.full(3, 120.0),
        covariance=np.eye(3),
        eigenvalues=np.ones(3),
        eigenvectors=np.eye(3),
        images=1,
        fingerprint="",
    )
    return Classifier(
        model=AlexNet(recipe.model, torch.Generator().manual_seed(0)),
        stats=DeviceStats.from_stats(stats),
        input=recipe.input,
        classes=tuple(ClassFact(wnid=f"n{label}", words=f"thing {label}") for label in range(7)),
    )


def photo(path: Path, size_px: tuple[int, int], mode: str = "RGB") -> Path:
    """A smooth random picture."""
    width, height = size_px
    noise = np.random.default_rng(0).integers(0, 256, (height // 20 + 2, width // 20 + 2, 3), np.uint8)
    Image.fromarray(noise).resize(size_px, Image.Resampling.BICUBIC).convert(mode).save(path)
    return path


@pytest.mark.parametrize("size_px", [(500, 375), (375, 500), (256, 256), (100, 90), (333, 257), (64, 700)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_pixels_are_those_of_the_shards(size_px: tuple[int, int], mode: str, tmp_path: Path) -> None:
    path = photo(tmp_path / "photo.png", size_px, mode)
    shard_jpeg = tmp_path / "shard.jpg"
    shard_jpeg.write_bytes(convert(path.read_bytes(), PixelRecipe(quality=100, subsampling="4:4:4")).jpeg)
    want = np.asarray(Image.open(shard_jpeg)).astype(int)
    found = load_image(path)
    assert found.shape == (256, 256, 3)
    assert found.dtype == np.uint8
    assert np.abs(found - want).mean() < 1.0  # JPEG at quality 100


def test_predictions_are_sorted_and_named(classifier: Classifier, tmp_path: Path) -> None:
    paths = [photo(tmp_path / "a.jpg", (300, 280)), photo(tmp_path / "b.png", (256, 400))]
    found = predict(classifier, paths, views=10, top=5)
    assert [one["image"] for one in found] == [str(path) for path in paths]
    for one, path in zip(found, paths, strict=True):
        want = classifier.probabilities(torch.from_numpy(load_image(path))[None], 10)[0]
        labels = [prediction["class"] for prediction in one["predictions"]]
        assert labels == want.argsort(descending=True)[:5].tolist()
        assert [prediction["words"] for prediction in one["predictions"]] == [f"thing {label}" for label in labels]
        probabilities = [prediction["probability"] for prediction in one["predictions"]]
        assert probabilities == pytest.approx(want[labels].tolist())


def test_more_classes_than_there_are(classifier: Classifier, tmp_path: Path) -> None:
    (found,) = predict(classifier, [photo(tmp_path / "a.jpg", (300, 280))], views=1, top=50)
    assert sum(prediction["probability"] for prediction in found["predictions"]) == pytest.approx(1, rel=1e-5)
    assert len(found["predictions"]) == 7


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    path = photo(tmp_path / "cut.jpg", (300, 280))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(AlexnetError, match="not a readable image"):
        load_image(path)
    (tmp_path / "text.jpg").write_text("hello")
    with pytest.raises(AlexnetError, match="not a readable image"):
        load_image(tmp_path / "text.jpg")
    with pytest.raises(AlexnetError, match=r"absent\.jpg"):
        load_image(tmp_path / "absent.jpg")
