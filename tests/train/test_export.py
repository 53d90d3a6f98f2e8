"""Exported networks give the checkpoint's outputs: ONNX in onnxruntime, safetensors, torchvision's layers."""

import json
import os
import stat
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors import safe_open
from torch import nn

from alexnet_network.model import AlexNet
from alexnet_shards.errors import AlexnetError
from alexnet_train.checkpoint import save_checkpoint
from alexnet_train.export import export, to_torchvision
from alexnet_train.recipe import Recipe, load_recipe


def images() -> torch.Tensor:
    return 60 * torch.randn(3, 3, 224, 224, generator=torch.Generator().manual_seed(1))


def checkpoint(path: Path, recipe: Recipe) -> tuple[Path, AlexNet]:
    model = AlexNet(recipe.model, torch.Generator().manual_seed(0)).eval()
    stats = {
        "mean_nchw": torch.zeros(1, 3, 224, 224),
        "channel_mean_nchw": torch.zeros(1, 3, 1, 1),
        "axes_released": torch.eye(3),
        "axes_paper": torch.eye(3),
    }
    classes = [f"n{label}" for label in range(recipe.model.num_classes)]
    content: dict[str, Any] = {"recipe": asdict(recipe), "model": model.state_dict(), "stats": stats, "step": 1}
    save_checkpoint(path, content | {"epoch": 1, "classes": classes, "words": classes})
    return path, model


def test_onnx_gives_the_same_logits_for_any_batch(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path, model = checkpoint(tmp_path / "a.pt", load_recipe("demo", ["width=0.125", "num_classes=10"]))
    told = export(path, "onnx", tmp_path / "a.onnx")
    assert told["bytes"] == (tmp_path / "a.onnx").stat().st_size
    assert capfd.readouterr() == ("", "")
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    for count in (1, 3):
        (logits,) = session.run(["logits"], {"image": images()[:count].numpy()})
        want = model(images()[:count]).detach().numpy()
        np.testing.assert_allclose(logits, want, rtol=1e-4, atol=1e-4 * np.abs(want).max())
    assert np.abs(want).max() > 1e-2


def test_safetensors_holds_weights_and_recipe(tmp_path: Path) -> None:
    recipe = load_recipe("released", ["width=0.125", "num_classes=10"])
    path, model = checkpoint(tmp_path / "a.pt", recipe)
    export(path, "safetensors", tmp_path / "a.safetensors")
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
        metadata = file.metadata()
    assert tensors.keys() == model.state_dict().keys()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in model.state_dict().items())
    assert json.loads(metadata["recipe"])["model"]["width"] == 0.125
    assert json.loads(metadata["classes"])[3] == "n3"


def torchvisions_alexnet(num_classes: int) -> nn.Module:
    """torchvision.models.alexnet written out: the same names of layers in the same order."""
    features = nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
    )  # fmt: skip
    classifier = nn.Sequential(
        nn.Dropout(), nn.Linear(9216, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(),
        nn.Linear(4096, num_classes),
    )  # fmt: skip
    network = nn.Sequential()
    network.add_module("features", features)
    network.add_module("pool", nn.Sequential(nn.AdaptiveAvgPool2d((6, 6)), nn.Flatten()))
    network.add_module("classifier", classifier)
    return network.eval()


def test_torchvisions_network_takes_the_file(tmp_path: Path) -> None:
    path, model = checkpoint(tmp_path / "a.pt", load_recipe("torchvision", ["num_classes=10"]))
    export(path, "torchvision", tmp_path / "a.pth")
    network = torchvisions_alexnet(10)
    network.load_state_dict(torch.load(tmp_path / "a.pth", weights_only=True))
    x = images() / 57.4
    torch.testing.assert_close(network(x), model(x), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dropout_at", ["outputs", "inputs"])
def test_halved_outputs_become_halved_weights(dropout_at: str) -> None:
    settings = ["num_classes=10", "dropout_scaled_in=test", f"dropout_at={dropout_at}"]
    model = AlexNet(load_recipe("torchvision", settings).model, torch.Generator().manual_seed(0)).eval()
    network = torchvisions_alexnet(10)
    network.load_state_dict(to_torchvision(model))
    x = images()[:1] / 57.4
    torch.testing.assert_close(network(x), model(x), rtol=1e-4, atol=1e-6)


def test_the_checkpoint_and_what_is_no_file_stay_as_they_are(tmp_path: Path) -> None:
    path, _ = checkpoint(tmp_path / "a.pt", load_recipe("demo", ["width=0.125", "num_classes=10"]))
    before = path.read_bytes()
    (tmp_path / "link").symlink_to(path)
    os.mkfifo(tmp_path / "fifo")
    for out, words in (
        (path, "a.pt: is the input .*a.pt and would be overwritten"),
        (tmp_path / "link", "link: is the input .*a.pt and would be overwritten"),
        (tmp_path / "fifo", "fifo: is a device, a pipe or a socket; name a file"),
        (tmp_path, ": is a folder; name a file"),
    ):
        with pytest.raises(AlexnetError, match=words):
            export(path, "safetensors", out)
    assert path.read_bytes() == before
    assert stat.S_ISFIFO((tmp_path / "fifo").stat().st_mode)
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("real")
    export(path, "safetensors", tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").stat().st_size > 1000


def test_other_networks_do_not_fit_torchvision() -> None:
    recipe = load_recipe("torchvision", ["num_classes=10", "width=0.125"])
    with pytest.raises(AlexnetError, match=r"model.width is 0.125, expected 1.0"):
        to_torchvision(AlexNet(recipe.model))
    model = AlexNet(replace(recipe.model, towers=2))
    model.config = replace(model.config, width=1.0)
    with pytest.raises(AlexnetError, match="towers is 2, expected 1; only networks of the recipe torchvision"):
        to_torchvision(model)
