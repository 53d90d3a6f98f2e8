"""Predictions: the same pixels as the stream's, the order of probabilities, refusals."""

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from alexnet_drawn.odd import ENCODERS, UNDECODABLE, encode_photo
from alexnet_network.classifier import Classifier
from alexnet_network.input import DeviceStats
from alexnet_network.model import AlexNet
from alexnet_pixels.convert import shard_pixels
from alexnet_pixels.recipe import PixelRecipe
from alexnet_prep.imagenet import read_official_split
from alexnet_prep.reader import SourceReader
from alexnet_shards.editions import EDITIONS
from alexnet_shards.errors import AlexnetError
from alexnet_shards.manifest import ClassFact
from alexnet_shards.shardset import open_shards
from alexnet_shards.stats import Stats
from alexnet_stream.stream import Stream, StreamConfig
from alexnet_train.checkpoint import load_checkpoint
from alexnet_train.predict import BadFile, load_image, predict
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


def seen(classifier: Classifier, paths: list[Path], **how: Any) -> list[dict[str, Any]]:
    """Predictions for files that are all good."""
    bad: list[BadFile] = []
    found = predict(classifier, paths, PixelRecipe(), **how, on_bad=bad.append)
    assert not bad
    return found


def prep(*words: object) -> None:
    """Run alexnet-prep in a process of its own."""
    command = [sys.executable, "-m", "alexnet_prep.cli", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr


def streamed(shards: Path) -> dict[str, npt.NDArray[np.uint8]]:
    """The whole images that the stream yields of a set, by key."""
    opened = open_shards([str(shards)])
    how = StreamConfig(batch_size=16, seed=0, shuffle=False, crop="none", last="keep")
    with Stream(opened, how) as stream:
        return {
            opened.key_of(int(row)).rpartition(", ")[2]: image.numpy().copy()
            for batch in stream.epoch()
            for row, image in zip(batch.rows, batch.images_nhwc, strict=True)
        }


def odd_files(folder: Path, data_dir: Path) -> int:
    """A source folder with every odd kind of image file that is known here; how many there are."""
    rng = np.random.default_rng(3)
    shot = np.asarray(Image.fromarray(rng.integers(0, 256, (9, 11, 3), np.uint8)).resize((420, 310)))
    files = {
        f"drawn-{kind.replace('_', '-')}.jpg": encode_photo(kind, shot, rng)
        for kind in ENCODERS
        if kind not in UNDECODABLE
    }
    with tarfile.open(data_dir.parent / "cases" / "ingest" / "predict-16bit.tar") as archive:
        member = archive.extractfile("predict-16bit/g16.png")
        files["g16.png"] = member.read() if member else b""
    grey = np.linspace(0, 1, 300 * 290, dtype=np.float32).reshape(300, 290)
    images = {
        "large.jpg": Image.fromarray(shot).resize((1700, 1300)),
        "float.tif": Image.fromarray(grey),
        "deep.tif": Image.fromarray((grey * 65535).astype(np.uint16)),
        "bits.png": Image.fromarray(grey > 0.5),
        "la.png": Image.fromarray(shot).convert("LA"),
        "palette.gif": Image.fromarray(shot).quantize(99),
        "cmyk.tif": Image.fromarray(shot).convert("CMYK"),
        "plain.bmp": Image.fromarray(shot),
    }
    for place in ("train/odd", "train/plain"):
        (folder / place).mkdir(parents=True)
    for name, image in images.items():
        image.save(folder / "train/odd" / name)
    Image.fromarray(shot).save(folder / "train/odd/progressive.jpg", progressive=True)
    for name, content in files.items():
        (folder / "train/odd" / name).write_bytes(content)
    photo(folder / "train/plain/photo.png", (300, 280))
    return len(files) + len(images) + 2


@pytest.mark.parametrize("recipe", [PixelRecipe(), PixelRecipe(filter="lanczos", quality=75, subsampling="4:4:4")])
def test_pixels_of_every_odd_kind_are_those_of_the_stream(recipe: PixelRecipe, data_dir: Path, tmp_path: Path) -> None:
    count = odd_files(tmp_path / "source", data_dir)
    options = ["--filter", recipe.filter, "--quality", recipe.quality, "--subsampling", recipe.subsampling]
    prep("shards", "--source", tmp_path / "source", "--out", tmp_path / "shards", "--workers", 1, *options)
    images = streamed(tmp_path / "shards/train-*.tar")
    assert len(images) == count
    files = {path.stem: path for path in (tmp_path / "source").rglob("*.*")}
    declared = PixelRecipe.from_dict(open_shards([f"{tmp_path}/shards/train-*.tar"]).manifest.recipe)
    assert declared == recipe
    for key, image in images.items():
        path = files[key.rpartition("_")[2]]
        assert np.array_equal(load_image(path, declared), image), key


def test_pixels_of_the_real_photos_are_those_of_the_stream(data_dir: Path, tmp_path: Path) -> None:
    prep("shards", "--source", data_dir / "ilsvrc2010", "--split", "val", "--out", tmp_path / "shards")
    images = streamed(tmp_path / "shards/val-*.tar")
    source = read_official_split(EDITIONS["2010"], data_dir / "ilsvrc2010", "val", "devkit", lambda _: None)
    reader = SourceReader(source.containers)
    patched = open_shards([f"{tmp_path}/shards/val-*.tar"]).manifest.report["patched"]
    for row in range(len(source)):
        place = source.locations[row]
        if source.key(row) in str(patched):
            continue
        content = reader.read(int(place["container"]), source.names[row], int(place["offset"]), int(place["size"]))
        assert np.array_equal(shard_pixels(content, PixelRecipe()), images[source.key(row)])
    reader.close()
    assert len(images) == len(source) == 80


def test_the_step_through_jpeg_is_small(tmp_path: Path) -> None:
    path = photo(tmp_path / "photo.png", (256, 256))
    moved = np.abs(load_image(path, PixelRecipe()).astype(int) - np.asarray(Image.open(path)).astype(int))
    assert 0 < moved.mean() < 2


def test_predictions_are_sorted_and_named(classifier: Classifier, tmp_path: Path) -> None:
    paths = [photo(tmp_path / "a.jpg", (300, 280)), photo(tmp_path / "b.png", (256, 400))]
    found = seen(classifier, paths, views=10, top=5)
    assert [one["image"] for one in found] == [str(path) for path in paths]
    for one, path in zip(found, paths, strict=True):
        want = classifier.probabilities(torch.from_numpy(load_image(path, PixelRecipe()))[None], 10)[0]
        labels = [prediction["class"] for prediction in one["predictions"]]
        assert labels == want.argsort(descending=True)[:5].tolist()
        assert [prediction["words"] for prediction in one["predictions"]] == [f"thing {label}" for label in labels]
        probabilities = [prediction["probability"] for prediction in one["predictions"]]
        assert probabilities == pytest.approx(want[labels].tolist())


def test_more_classes_than_there_are(classifier: Classifier, tmp_path: Path) -> None:
    (found,) = seen(classifier, [photo(tmp_path / "a.jpg", (300, 280))], views=1, top=50)
    assert sum(prediction["probability"] for prediction in found["predictions"]) == pytest.approx(1, rel=1e-5)
    assert len(found["predictions"]) == 7


def test_classes_beyond_the_list_go_by_their_numbers(classifier: Classifier, tmp_path: Path) -> None:
    few = replace(classifier, classes=classifier.classes[:2])
    (found,) = seen(few, [photo(tmp_path / "a.jpg", (300, 280))], views=1, top=50)
    names = {one["class"]: (one["wnid"], one["words"]) for one in found["predictions"]}
    assert names == {0: ("n0", "thing 0"), 1: ("n1", "thing 1"), **{n: (str(n), "") for n in range(2, 7)}}


def test_equal_probabilities_are_in_the_order_of_their_classes(classifier: Classifier, tmp_path: Path) -> None:
    with torch.no_grad():
        for parameter in classifier.model.parameters():
            parameter.zero_()
    (found,) = seen(classifier, [photo(tmp_path / "a.jpg", (300, 280))], views=1, top=7)
    assert [one["class"] for one in found["predictions"]] == list(range(7))


def test_a_network_without_numbers_is_an_error(classifier: Classifier, tmp_path: Path) -> None:
    with torch.no_grad():
        next(classifier.model.parameters()).fill_(float("nan"))
    with pytest.raises(AlexnetError, match="outputs are no numbers"):
        seen(classifier, [photo(tmp_path / "a.jpg", (300, 280))], views=1, top=1)


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    cut = photo(tmp_path / "cut.jpg", (300, 280))
    cut.write_bytes(cut.read_bytes()[:2000])
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "eps.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 30 30\n")
    os.mkfifo(tmp_path / "pipe.jpg")
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(600 << 20)
    reasons = {
        "cut.jpg": "truncated JPEG: .* of the picture is missing",
        "text.jpg": "no image: text; read are JPEG",
        "eps.jpg": "no image: PostScript",
        "absent.jpg": "no such file",
        ".": "a folder; name image files",
        "pipe.jpg": "no regular file",
        "huge.jpg": "629,145,600 bytes; an image file has at most 536,870,912",
        "a\0b.jpg": "cannot be read",
        "x" * 300: "cannot be read",
    }
    for name, reason in reasons.items():
        with pytest.raises(BadFile, match=reason) as found:
            load_image(tmp_path / name, PixelRecipe())
        assert "\n" not in str(found.value)


def test_good_files_are_seen_beside_bad_ones(make_run: Callable[..., str], data_dir: Path, tmp_path: Path) -> None:
    pattern = make_run(tmp_path / "shards")
    small = ["--recipe", "demo", "--set", "width=0.0625", "--set", "batch_size=5", "--set", "epochs=1"]
    trained = subprocess.run(
        [sys.executable, "-m", "alexnet_train.cli", "train", "--shards", pattern, *small, "--out", tmp_path / "run"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    (checkpoint,) = (tmp_path / "run/checkpoints").glob("step-*.pt")
    assert load_checkpoint(checkpoint)["pixels"] == {}  # those shards were made elsewhere
    with tarfile.open(data_dir.parent / "cases" / "train" / "predict-one-bad.tar") as archive:
        archive.extractall(tmp_path, filter="data")
    names = ["plain.jpg", "trunc.jpg", "absent.jpg", "gray.jpg", "f32.tif"]
    done = subprocess.run(
        [sys.executable, "-m", "alexnet_train.cli", "predict", "--checkpoint", checkpoint, "--json", *names],
        capture_output=True, text=True, check=False, cwd=tmp_path / "predict-one-bad",
    )  # fmt: skip
    assert done.returncode == 1
    found = json.loads(done.stdout)["images"]
    assert [one["image"] for one in found] == ["plain.jpg", "gray.jpg", "f32.tif"]
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert "trunc.jpg: truncated JPEG" in lines[0]
    assert "absent.jpg: no such file" in lines[1]
