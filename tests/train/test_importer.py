"""Imported weights give what plain re-statements of torchvision's and Caffe's networks give on the same photos."""

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from alexnet_shards.manifest import ClassFact, Manifest, load_manifest, manifest_path, save_manifest
from alexnet_train import importer
from alexnet_train.checkpoint import load_checkpoint, save_checkpoint
from alexnet_train.evaluate import load_classifier
from alexnet_train.export import export

SHAPES = {  # bvlc_alexnet's, from its deploy.prototxt: outputs, inputs of a group, rows, columns
    "conv1": (96, 3, 11, 11), "conv2": (256, 48, 5, 5), "conv3": (384, 256, 3, 3), "conv4": (384, 192, 3, 3),
    "conv5": (256, 192, 3, 3), "fc6": (4096, 9216), "fc7": (4096, 4096), "fc8": (1000, 4096),
}  # fmt: skip


@pytest.fixture(scope="module")
def wnids() -> list[str]:
    """A thousand WNIDs in an order that is not the sorted one, as a devkit's."""
    names = [f"n{number:08d}" for number in range(0, 3000, 3)]
    random.Random(0).shuffle(names)
    return names


@pytest.fixture
def shards(make_shards: Callable[..., str], tmp_path: Path, wnids: list[str], monkeypatch: pytest.MonkeyPatch) -> str:
    pattern = make_shards(tmp_path / "shards", (2,), "val")
    path = manifest_path(tmp_path / "shards", "val")
    classes = tuple(ClassFact(wnid=wnid, words=f"word {wnid}") for wnid in wnids)
    save_manifest(path, Manifest(split="val", classes=classes, shards=load_manifest(path).shards))
    monkeypatch.setattr(importer, "ILSVRC2012_SHA256", hashlib.sha256("\n".join(sorted(wnids)).encode()).hexdigest())
    return pattern


@pytest.fixture(scope="module")
def images_nhwc() -> npt.NDArray[np.uint8]:
    blocks = np.random.default_rng(5).integers(0, 256, (2, 32, 32, 3), np.uint8)
    return np.kron(blocks, np.ones((1, 8, 8, 1), np.uint8))


def assert_same_probabilities(out: Path, images_nhwc: npt.NDArray[np.uint8], logits: Tensor, wnids: list[str]) -> None:
    """`logits` (2, 1000) are in the order of sorted WNIDs, the checkpoint's probabilities in that of the shards."""
    classifier = load_classifier(out, torch.device("cpu"))
    assert [fact.wnid for fact in classifier.classes] == wnids
    found = classifier.probabilities(torch.from_numpy(images_nhwc), 1)
    expected = logits.softmax(1)[:, [sorted(wnids).index(wnid) for wnid in wnids]]
    assert float(expected.max(1).values.min()) > 0.01  # no uniform distribution, which any order would equal
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=1e-6)


def torchvision_network() -> nn.Sequential:
    """torchvision.models.alexnet re-stated, without dropout: names of layers are those of its state dict."""
    features = nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(),
        nn.MaxPool2d(3, 2), nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(), nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
    )  # fmt: skip
    classifier = nn.Sequential(
        nn.Identity(), nn.Linear(9216, 4096), nn.ReLU(), nn.Identity(), nn.Linear(4096, 4096), nn.ReLU(),
        nn.Linear(4096, 1000),
    )  # fmt: skip
    network = nn.Sequential()
    network.add_module("features", features)
    network.add_module("flat", nn.Flatten())
    network.add_module("classifier", classifier)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            inputs = parameter[0].numel() if parameter.dim() > 1 else 100
            parameter.normal_(0, (2.4 / inputs) ** 0.5, generator=generator)
    return network


def test_torchvision(
    run: Any, shards: str, tmp_path: Path, images_nhwc: npt.NDArray[np.uint8], wnids: list[str]
) -> None:
    network, out = torchvision_network(), tmp_path / "imported.pt"
    torch.save(network.state_dict(), tmp_path / "alexnet.pth")
    done = run(
        "import",
        "--from",
        "torchvision",
        "--weights",
        tmp_path / "alexnet.pth",
        "--shards",
        shards,
        "--out",
        out,
        "--json",
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["recipe"] == "torchvision"
    crops_nchw = torch.from_numpy(images_nhwc[:, 16:240, 16:240].transpose(0, 3, 1, 2) / 255).float()
    mean, std = (torch.tensor(x).reshape(1, 3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        logits = network((crops_nchw - mean) / std)
    assert_same_probabilities(out, images_nhwc, logits, wnids)


def test_the_weights_are_not_overwritten(run: Any, shards: str, tmp_path: Path) -> None:
    path = tmp_path / "alexnet.pth"
    path.write_bytes(b"precious")
    done = run("import", "--from", "torchvision", "--weights", path, "--shards", shards, "--out", path, "--json")
    assert done.exit_code == 1
    assert f"error: {path}: is the input {path} and would be overwritten; name another file" in done.output
    assert path.read_bytes() == b"precious"


Blobs = dict[str, tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]


@pytest.fixture(scope="module")
def blobs() -> Blobs:
    """Weights and biases of a whole network."""
    return caffe_blobs()


def caffe_blobs() -> Blobs:
    rng = np.random.default_rng(7)
    blobs = {}
    for name, shape in SHAPES.items():
        scale = (2.4 / np.prod(shape[1:])) ** 0.5 * (0.02 if name == "conv1" else 1.0)
        weight = rng.normal(0, scale, shape).astype(np.float32)
        blobs[name] = weight, rng.normal(0, 0.1, shape[0]).astype(np.float32)
    return blobs


def caffe_logits(blobs: Any, images_nhwc: npt.NDArray[np.uint8], *, pool_first: bool = False) -> Tensor:
    """bvlc_alexnet's deploy.prototxt in torch's functions: BGR minus the mean, centre crop of 227, norm after ReLU.

    CaffeNet's where pooling comes first.
    """
    functional: Any = torch.nn.functional
    bgr_nchw = images_nhwc[:, 14:241, 14:241, ::-1].astype(np.float32).transpose(0, 3, 1, 2)
    x = torch.from_numpy(bgr_nchw - np.array([104.00698793, 116.66876762, 122.67891434]).reshape(1, 3, 1, 1)).float()
    norm = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)
    w: dict[str, Any] = {name: tuple(map(torch.from_numpy, parts)) for name, parts in blobs.items()}

    def pool(y: Tensor) -> Tensor:
        pooled: Tensor = functional.max_pool2d(y, 3, 2, ceil_mode=True)
        return pooled

    first, second = (pool, norm) if pool_first else (norm, pool)
    x = second(first(functional.conv2d(x, *w["conv1"], stride=4).relu()))
    x = second(first(functional.conv2d(x, *w["conv2"], padding=2, groups=2).relu()))
    x = functional.conv2d(x, *w["conv3"], padding=1).relu()
    x = functional.conv2d(x, *w["conv4"], padding=1, groups=2).relu()
    x = functional.max_pool2d(functional.conv2d(x, *w["conv5"], padding=1, groups=2).relu(), 3, 2, ceil_mode=True)
    x = functional.linear(x.flatten(1), *w["fc6"]).relu()
    x = functional.linear(x, *w["fc7"]).relu()
    logits: Tensor = functional.linear(x, *w["fc8"])
    return logits


def as_tensorflow(blobs: Any) -> dict[str, list[Any]]:
    """The layout of caffe-tensorflow's dump: outputs last; fc6 reads rows, columns, channels."""
    dump = {name: [w.transpose(2, 3, 1, 0) if w.ndim == 4 else w.T, b] for name, (w, b) in blobs.items()}
    fc6 = blobs["fc6"][0].reshape(4096, 256, 6, 6).transpose(2, 3, 1, 0).reshape(-1, 4096)
    return dump | {"fc6": [fc6, blobs["fc6"][1]]}


CAFFE_FORMS = [
    ("old.caffemodel", "lrn-pool"),
    pytest.param("new.caffemodel", "lrn-pool", marks=pytest.mark.long),
    pytest.param("old.caffemodel", "pool-lrn", marks=pytest.mark.long),
    ("new.caffemodel", "pool-lrn"),
    ("caffe.npy", "lrn-pool"),
    ("tensorflow.npy", "pool-lrn"),
]
STAGES = {"lrn-pool": ("ReLU", "LRN", "Pooling"), "pool-lrn": ("ReLU", "Pooling", "LRN")}


@pytest.mark.parametrize(("form", "order"), CAFFE_FORMS)
def test_caffe(
    run: Any,
    shards: str,
    tmp_path: Path,
    images_nhwc: npt.NDArray[np.uint8],
    wnids: list[str],
    form: str,
    order: str,
    caffemodel: Any,
    blobs: Blobs,
) -> None:
    path, out = tmp_path / form, tmp_path / "imported.pt"
    said: tuple[str, ...] = ()
    if path.suffix == ".npy":
        said = ("--order", order)
        dump = as_tensorflow(blobs) if form == "tensorflow.npy" else {name: list(pair) for name, pair in blobs.items()}
        np.save(path, np.array(dump, dtype=object), allow_pickle=True)
    else:
        path.write_bytes(caffemodel(blobs, old=form == "old.caffemodel", stages=STAGES[order]))
    done = run("import", "--from", "caffe", "--weights", path, "--shards", shards, "--out", out, "--json", *said)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["recipe"] == {"lrn-pool": "caffe", "pool-lrn": "caffenet"}[order]
    with torch.no_grad():
        logits = caffe_logits(blobs, images_nhwc, pool_first=order == "pool-lrn")
    assert_same_probabilities(out, images_nhwc, logits, wnids)


def test_other_classes_are_refused(run: Any, shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # ILSVRC-2012's own checksum again
    torch.save({}, tmp_path / "x.pth")
    done = run(
        "import",
        "--from",
        "torchvision",
        "--weights",
        tmp_path / "x.pth",
        "--shards",
        shards,
        "--out",
        tmp_path / "o.pt",
    )
    assert done.exit_code == 1
    assert "1000 classes that are not the 1000 of ILSVRC-2012" in done.stderr
    assert not (tmp_path / "o.pt").exists()


def refusal(run: Any, kind: str, path: Path, shards: str, *words: str) -> str:
    """The one line of an import that fails; nothing is written."""
    out = path.with_name("refused.pt")
    done = run("import", "--from", kind, "--weights", path, "--shards", shards, "--out", out, *words)
    assert done.exit_code == 1, done.output
    assert done.stderr.count("\n") == 1, done.stderr
    assert "weights_only" not in done.stderr
    assert not out.exists()
    return str(done.stderr)


def test_other_weights_are_refused(run: Any, shards: str, tmp_path: Path) -> None:
    state = torchvision_network().state_dict()
    files: dict[str, tuple[Any, str]] = {
        "nothing.pth": ({}, "no features.0.weight in it (it has nothing)"),
        "few.pth": (state | {"classifier.6.weight": torch.zeros(10, 4096)}, "fc8.weight is (10, 4096)"),
        "shape.pth": (state | {"features.3.weight": torch.zeros(64, 64, 5, 5)}, "conv2.weight is"),
        "part.pth": ({"features.0.weight": state["features.0.weight"]}, "no features.0.bias in it"),
    }
    for name, (content, message) in files.items():
        torch.save(content, tmp_path / name)
        assert message in refusal(run, "torchvision", tmp_path / name, shards)


def test_numbers_that_are_none_are_refused(run: Any, shards: str, tmp_path: Path, caffemodel: Any) -> None:
    state = torchvision_network().state_dict()
    state["features.10.bias"][3] = float("nan")
    torch.save(state, tmp_path / "nan.pth")
    assert "1 values of conv5.bias are no numbers" in refusal(run, "torchvision", tmp_path / "nan.pth", shards)
    blobs = caffe_blobs()
    blobs["fc8"][0][:2] = np.inf
    (tmp_path / "inf.caffemodel").write_bytes(caffemodel(blobs, old=False, stages=STAGES["lrn-pool"]))
    assert "8192 values of fc8.weight are no numbers" in refusal(run, "caffe", tmp_path / "inf.caffemodel", shards)


def test_caffes_order_is_asked_for_where_the_file_cannot_tell(
    run: Any, shards: str, tmp_path: Path, caffemodel: Any
) -> None:
    small = {name: (np.zeros((1, 1), np.float32), np.zeros(1, np.float32)) for name in SHAPES}
    np.save(tmp_path / "x.npy", np.array({name: list(pair) for name, pair in small.items()}, dtype=object))
    asked = "whether lrn or pool comes first; give --order lrn-pool (bvlc_alexnet) or --order pool-lrn (CaffeNet)"
    assert asked in refusal(run, "caffe", tmp_path / "x.npy", shards)
    for stages, message in (
        ((), asked),
        (("ReLU", "Pooling"), "pool behind conv1 and conv2; expected lrn-pool or pool-lrn behind both"),
        (("LRN", "Pooling", "LRN"), "lrn-pool-lrn behind conv1 and conv2"),
    ):
        (tmp_path / "x.caffemodel").write_bytes(caffemodel(small, old=False, stages=stages))
        assert message in refusal(run, "caffe", tmp_path / "x.caffemodel", shards)
    (tmp_path / "x.caffemodel").write_bytes(caffemodel(small, old=True, stages=STAGES["lrn-pool"]))
    assert "its layers are in the order lrn-pool" in refusal(
        run, "caffe", tmp_path / "x.caffemodel", shards, "--order", "pool-lrn"
    )
    torch.save({}, tmp_path / "x.pth")
    assert "it is of Caffe's networks" in refusal(run, "torchvision", tmp_path / "x.pth", shards, "--order", "pool-lrn")


def test_torchvisions_own_numbers_come_back(run: Any, shards: str, tmp_path: Path) -> None:
    network = torchvision_network()
    torch.save(
        {"state_dict": {f"module.{name}": tensor for name, tensor in network.state_dict().items()}}, tmp_path / "a.pth"
    )
    done = run(
        "import",
        "--from",
        "torchvision",
        "--weights",
        tmp_path / "a.pth",
        "--shards",
        shards,
        "--out",
        tmp_path / "a.pt",
    )
    assert done.exit_code == 0, done.output
    export(tmp_path / "a.pt", "torchvision", tmp_path / "b.pth")
    again = torch.load(tmp_path / "b.pth", weights_only=True)
    assert again.keys() == network.state_dict().keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in network.state_dict().items())
    facts = json.loads((tmp_path / "b.pth.json").read_text())
    assert facts["classes"] == sorted(facts["classes"])
    assert facts["input"]["mean"] == [0.485, 0.456, 0.406]
    assert facts["input"]["std"] == [0.229, 0.224, 0.225]


def test_trained_further_it_still_takes_torchvisions_input(
    run: Any, shards: str, tmp_path: Path, images_nhwc: npt.NDArray[np.uint8]
) -> None:
    torch.save(torchvision_network().state_dict(), tmp_path / "a.pth")
    run(
        "import",
        "--from",
        "torchvision",
        "--weights",
        tmp_path / "a.pth",
        "--shards",
        shards,
        "--out",
        tmp_path / "a.pt",
    )
    content = load_checkpoint(tmp_path / "a.pt")
    content["model"]["conv1.weight"] *= 1.5
    del content["torchvision"]  # as a run that began with it
    save_checkpoint(tmp_path / "b.pt", content)
    export(tmp_path / "b.pt", "torchvision", tmp_path / "b.pth")
    network = torchvision_network()
    network.load_state_dict(torch.load(tmp_path / "b.pth", weights_only=True))
    crops_nchw = torch.from_numpy(images_nhwc[:, 16:240, 16:240].transpose(0, 3, 1, 2) / 255).float()
    mean, std = (torch.tensor(x).reshape(1, 3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    found = load_classifier(tmp_path / "b.pt", torch.device("cpu")).probabilities(torch.from_numpy(images_nhwc), 1)
    with torch.no_grad():
        torch.testing.assert_close(network((crops_nchw - mean) / std).softmax(1), found, rtol=2e-3, atol=1e-6)
