"""Nearest training photos: features of the layer, the search against a plain one, kept, gone on with, bounded by class."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import simplejpeg
import torch

from alexnet_command.progress import Progress
from alexnet_network import AlexNet, Classifier, DeviceStats
from alexnet_shards import AlexnetError, open_shards
from alexnet_shards.stats import load_stats
from alexnet_stream import ShardDataset
from alexnet_train import nearest
from alexnet_train.featurefile import FeatureFile
from alexnet_train.nearest import NEAREST, features_of, nearest_rows, open_neighbours, rows_of_classes
from alexnet_train.recipe import load_recipe


@pytest.fixture
def parts(make_run: Callable[..., str], tmp_path: Path) -> SimpleNamespace:
    """21 training images, a network, and the file of its features."""
    pattern = make_run(tmp_path, (12, 9))
    shards = open_shards([pattern])
    recipe = load_recipe("demo", ["width=0.0625", "num_classes=7"])
    classifier = Classifier(
        model=AlexNet(recipe.model, torch.Generator().manual_seed(0)),
        stats=DeviceStats.from_stats(load_stats(tmp_path / "stats.npz")),
        input=recipe.input,
        classes=shards.classes,
    )
    (tmp_path / "net.pt").write_bytes(b"weights")
    file = FeatureFile.of(tmp_path, shards, tmp_path / "net.pt", 256)
    return SimpleNamespace(shards=shards, classifier=classifier, file=file, directory=tmp_path)


def opened(parts: SimpleNamespace, rows: np.ndarray, said: list[str] | None = None) -> nearest.Neighbours:
    with Progress("features", "images", quiet=True) as progress:
        if said is not None:
            progress.say = said.append  # type: ignore[method-assign, assignment]
        return open_neighbours(parts.classifier, parts.shards, parts.file, rows, progress)


def test_features_are_those_of_the_last_hidden_layer(parts: SimpleNamespace) -> None:
    """4096 of them at width 1; what the last layer is given, in the centre view."""
    with torch.device("meta"):
        model = AlexNet(load_recipe("released", ["num_classes=1000"]).model)
        assert model.hidden(torch.empty(2, 3, 224, 224)).shape == (2, 4096)
    given: list[torch.Tensor] = []
    model = parts.classifier.model
    handle = model.fc8.register_forward_pre_hook(lambda layer, inputs: given.append(inputs[0]))
    with ShardDataset(parts.shards) as dataset:
        images_nhwc = np.stack([dataset[row][0] for row in range(5)])
    parts.classifier.log_probabilities(torch.from_numpy(images_nhwc), 1)
    handle.remove()
    found = features_of(parts.classifier, images_nhwc)
    assert found.dtype == np.float16
    assert np.array_equal(found, given[0].half().numpy())
    assert found.any()


@pytest.mark.parametrize("block_rows", [1, 7, 4096])
def test_the_six_nearest_are_those_of_a_plain_search(block_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 300 rows of which some are the same; equals stand by row."""
    monkeypatch.setattr(nearest, "SEARCH_ROWS", block_rows)
    rng = np.random.default_rng(0)
    features = np.maximum(0, rng.normal(size=(300, 40)) * 3).astype(np.float16)
    features[200:220] = features[10]
    rows = np.flatnonzero(rng.random(300) < 0.7)
    queries = np.concatenate([features[[10, 50]], np.maximum(0, rng.normal(size=(3, 40))).astype(np.float16)])
    found, distances = nearest_rows(features, rows, queries, NEAREST)
    assert found.shape == distances.shape == (5, 6)
    for query, mine, far in zip(queries, found, distances, strict=True):
        plain = [
            (float(np.sqrt(((features[row].astype(float) - query.astype(float)) ** 2).sum())), int(row)) for row in rows
        ]
        assert mine.tolist() == [row for _, row in sorted(plain)[:6]]
        assert far.tolist() == pytest.approx([one for one, _ in sorted(plain)[:6]])
    assert len(nearest_rows(features, rows[:4], queries, NEAREST)[0][0]) == 4, "fewer where there are fewer"


def test_features_are_computed_once_and_bound_to_what_they_are_of(parts: SimpleNamespace) -> None:
    said: list[str] = []
    every = np.arange(21)
    neighbours = opened(parts, every, said)
    assert "features of 21 images" in said[0]
    assert "10.8 kB" in said[0]
    with ShardDataset(parts.shards) as dataset:
        whole = features_of(parts.classifier, np.stack([dataset[row][0] for row in range(21)]))
    assert np.array_equal(np.load(parts.file.path), whole)
    (first,) = neighbours.of(whole[3:4])
    assert (first[0]["row"], first[0]["distance"], first[0]["wnid"]) == (3, 0.0, "n00000003")
    opened(parts, every, said)
    assert len(said) == 1, "nothing is computed again"
    for other in (
        replace(parts.file, checkpoint_sha256="0" * 64),
        replace(parts.file, index_sha256="0" * 64),
        replace(parts.file, columns=255),
    ):
        assert other.path != parts.file.path


def test_only_the_likeliest_classes_are_computed_and_searched(parts: SimpleNamespace) -> None:
    rows = rows_of_classes(parts.shards, ["n00000002", "n00000005"])
    assert set(parts.shards.labels[rows].tolist()) == {2, 5}
    said: list[str] = []
    neighbours = opened(parts, rows, said)
    assert f"features of {len(rows)} images" in said[0]
    assert np.flatnonzero(parts.file.done()).tolist() == rows.tolist()
    (found,) = neighbours.of(np.zeros((1, 256), np.float16))
    assert {fact["row"] for fact in found} <= set(rows.tolist())
    opened(parts, np.arange(21), said)
    assert f"features of {21 - len(rows)} images" in said[1], "what is there is not computed again"
    with pytest.raises(AlexnetError, match="no photo of the likeliest classes"):
        rows_of_classes(parts.shards, ["n99999999"])


def test_a_disk_without_room_is_said_before_the_work(parts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=5000))
    with pytest.raises(AlexnetError, match=r"take 10\.8 kB, 5\.0 kB are free.*--nearest-classes N"):
        opened(parts, np.arange(21))
    assert not parts.file.path.exists()


def test_features_are_not_kept_as_those_of_a_checkpoint_that_came_meanwhile(
    make_run: Callable[..., str], run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the best.pt of a run that goes on: the old network's features had the new one's name."""
    pattern = make_run(tmp_path / "shards")
    sets = [word for one in ("width=0.0625", "batch_size=5", "epochs=1") for word in ("--set", one)]
    run("train", "--shards", pattern, "--recipe", "demo", *sets, "--out", tmp_path / "run")
    best = tmp_path / "run" / "checkpoints" / "best.pt"

    def replaced(*words: Any) -> Any:
        (tmp_path / "new.pt").write_bytes(best.read_bytes())
        (tmp_path / "new.pt").replace(best)
        return features_of(*words)

    with ShardDataset([pattern]) as dataset:
        (tmp_path / "photo.jpg").write_bytes(simplejpeg.encode_jpeg(dataset[0][0]))
    monkeypatch.setattr(nearest, "features_of", replaced)
    done = run("predict", "--checkpoint", best, "--nearest", tmp_path / "shards", tmp_path / "photo.jpg")
    assert done.exit_code == 1
    assert f"{best}: was replaced while it was read" in done.stderr
    assert not list((tmp_path / "shards").glob("*.features-*"))


CHILD = """
import sys, time
from pathlib import Path
from alexnet_train import nearest, usecommands
from alexnet_command.entry import finish
nearest.BLOCK_ROWS = 4
plain, kept = nearest.features_of, Path(sys.argv[sys.argv.index("--features") + 1])
def held(*words):
    time.sleep(600 if list(kept.glob("*.npz")) else 0)  # once something is kept
    return plain(*words)
nearest.features_of = held
sys.exit(finish(usecommands.predict, sys.argv[1:]))
"""


def test_a_killed_computation_goes_on(make_run: Callable[..., str], run: Callable[..., object], tmp_path: Path) -> None:
    """Killed after its first blocks; the file is then what a run without a kill makes."""
    pattern = make_run(tmp_path, (12, 9))
    sets = [word for one in ("width=0.0625", "batch_size=5", "epochs=1") for word in ("--set", one)]
    run("train", "--shards", pattern, "--recipe", "demo", *sets, "--out", tmp_path / "run")
    photo = tmp_path / "n00000001" / "photo.jpg"
    photo.parent.mkdir()
    with ShardDataset([pattern]) as dataset:
        from PIL import Image

        Image.fromarray(dataset[0][0]).save(photo)
    words = ["--checkpoint", tmp_path / "run", "--nearest", tmp_path, "--features", tmp_path / "kept", photo]
    (tmp_path / "kept").mkdir()
    child = subprocess.Popen([sys.executable, "-c", CHILD, *map(str, words)], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while not list((tmp_path / "kept").glob("*.npz")):
        assert time.monotonic() < deadline
        assert child.poll() is None
        time.sleep(0.05)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    (path,) = (tmp_path / "kept").glob("*.npy")
    shards = open_shards([pattern])
    (checkpoint,) = (tmp_path / "run" / "checkpoints").glob("step-*.pt")
    file = FeatureFile.of(tmp_path / "kept", shards, checkpoint, 256)
    assert file.path == path
    assert file.done().sum() == 4
    done = run("predict", *words, "--json")
    assert done.exit_code == 0, done.output  # type: ignore[attr-defined]
    assert file.done().all()
    whole = path.read_bytes()
    path.unlink()
    file.done_path.unlink()
    run("predict", *words, "--json")
    assert path.read_bytes() == whole
