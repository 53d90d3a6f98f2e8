"""Exported networks give the checkpoint's outputs, and say how they are fed."""

import base64
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from safetensors import safe_open
from torch import nn

from alexnet_network.model import AlexNet
from alexnet_shards.errors import AlexnetError
from alexnet_train.checkpoint import load_checkpoint, save_checkpoint
from alexnet_train.evaluate import load_classifier
from alexnet_train.export import FORMATS, export
from alexnet_train.recipe import Recipe, load_recipe


def images() -> torch.Tensor:
    return 60 * torch.randn(3, 3, 224, 224, generator=torch.Generator().manual_seed(1))


def checkpoint(path: Path, recipe: Recipe) -> tuple[Path, AlexNet]:
    model = AlexNet(recipe.model, torch.Generator().manual_seed(0)).eval()
    generator = torch.Generator().manual_seed(2)
    stats = {
        "mean_nchw": 90 + 60 * torch.rand(1, 3, 224, 224, generator=generator),
        "channel_mean_nchw": torch.tensor([123.5, 117.25, 104.125]).reshape(1, 3, 1, 1),
        "axes_released": torch.eye(3),
        "axes_paper": torch.eye(3),
    }
    classes = [f"n{label}" for label in range(recipe.model.num_classes)]
    content: dict[str, Any] = {"recipe": asdict(recipe), "model": model.state_dict(), "stats": stats, "step": 1}
    content["pixels"] = {"filter": "lanczos"}
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


def test_a_network_for_use_multiplies_whole_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever torch's own default is, and whatever the recipe says of training."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    path, _ = checkpoint(tmp_path / "a.pt", load_recipe("demo", ["width=0.0625", "num_classes=7", "tf32=true"]))
    load_classifier(path, torch.device("cpu"))
    assert not torch.backends.cudnn.allow_tf32


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


def fed_by_hand(images_nhwc: npt.NDArray[np.uint8], texts: dict[str, str]) -> npt.NDArray[np.float32]:
    """The network's input from whole uint8 images by what an export says of it, and nothing else."""
    facts = json.loads(texts["input"])
    assert (facts["crop"], facts["channels"], facts["layout"], facts["dtype"]) == ("centre", "RGB", "NCHW", "float32")
    assert (facts["side_px"], facts["formula"], facts["levels"]) == (256, "(levels - mean) * scale", [0, 255])
    first = (facts["side_px"] - facts["crop_px"]) // 2
    crop = images_nhwc[:, first : first + facts["crop_px"], first : first + facts["crop_px"]].transpose(0, 3, 1, 2)
    if facts["mean"] == "mean_image":
        mean = json.loads(texts["mean_image"])
        values = np.frombuffer(base64.b64decode(mean["base64"]), mean["dtype"]).reshape(mean["shape"])
    else:
        values = np.array(facts["mean"], np.float32).reshape(3, 1, 1)
    fed: npt.NDArray[np.float32] = ((crop.astype(np.float32) - values) * np.float32(facts["scale"])).astype(np.float32)
    return fed


@pytest.mark.parametrize("recipe", ["demo", "torchvision", "caffe"])  # mean image, mean and scale, no colour noise
@pytest.mark.parametrize("to", ["onnx", "safetensors"])
def test_what_the_metadata_says_is_how_the_network_is_fed(tmp_path: Path, recipe: str, to: str) -> None:
    path, model = checkpoint(tmp_path / "a.pt", load_recipe(recipe, ["width=0.0625", "num_classes=7"]))
    export(path, to, tmp_path / "out")
    if to == "onnx":
        texts = {prop.key: prop.value for prop in onnx.load(tmp_path / "out").metadata_props}
    else:
        with safe_open(tmp_path / "out", "pt") as file:
            texts = file.metadata()
    assert json.loads(texts["classes"]) == [f"n{label}" for label in range(7)]
    assert json.loads(texts["recipe"])["name"] == recipe
    assert json.loads(texts["input"])["image"]["filter"] == "lanczos"
    images_nhwc = np.random.default_rng(0).integers(0, 256, (2, 256, 256, 3), np.uint8)
    classifier = load_classifier(path, torch.device("cpu"))
    with torch.no_grad():
        logits = model(torch.from_numpy(fed_by_hand(images_nhwc, texts)))
    wanted = classifier.probabilities(torch.from_numpy(images_nhwc), 1)
    torch.testing.assert_close(logits.softmax(1), wanted, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("recipe", ["demo", "torchvision", "released"])
@pytest.mark.parametrize("side_px", [256, 224])
def test_with_input_takes_pixels_and_gives_our_probabilities(
    run: Any, tmp_path: Path, recipe: str, side_px: int
) -> None:
    path, model = checkpoint(tmp_path / "a.pt", load_recipe(recipe, ["width=0.0625", "num_classes=7"]))
    content = load_checkpoint(path)
    images_nhwc = np.random.default_rng(0).integers(0, 256, (3, 256, 256, 3), np.uint8)
    with torch.no_grad():
        spread = float(model(images()).std(1).mean())
    content["model"]["fc8.weight"] *= 2 / spread  # no uniform distribution, which would hide differences
    save_checkpoint(path, content)
    words = ["--checkpoint", path, "--to", "onnx", "--out", tmp_path / "a.onnx", "--with-input"]
    done = run("export", *words, *(["224"] if side_px == 224 else []), "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["ir_version"], told["opset"]) == (3, 7)
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()
    assert (image.type, image.shape) == ("tensor(uint8)", ["batch", side_px, side_px, 3])
    centre = images_nhwc[:, 16:240, 16:240] if side_px == 224 else images_nhwc
    (found,) = session.run(["probabilities"], {"image": np.ascontiguousarray(centre)})
    wanted = load_classifier(path, torch.device("cpu")).probabilities(torch.from_numpy(images_nhwc), 1).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
    assert wanted.max() > 0.15


def test_with_input_is_of_onnx_and_of_the_networks_crop(tmp_path: Path) -> None:
    path, _ = checkpoint(tmp_path / "a.pt", load_recipe("demo", ["width=0.0625", "num_classes=7"]))
    with pytest.raises(AlexnetError, match="only an ONNX model can hold the input's steps"):
        export(path, "safetensors", tmp_path / "a", 256)
    with pytest.raises(AlexnetError, match="this network sees 224 pixels of 256; give one of them"):
        export(path, "onnx", tmp_path / "a", 227)
    assert not (tmp_path / "a").exists()


EXPORT = """
import sys
from pathlib import Path
from alexnet_train.export import export
out = Path(sys.argv[1])
for kind in sys.argv[2:]:
    export(out.parent / f"{kind}.pt", kind, out / kind)
"""


def test_two_exports_are_the_same_bytes(tmp_path: Path) -> None:
    for kind in FORMATS:
        recipe = load_recipe("torchvision" if kind == "torchvision" else "demo", ["num_classes=5"])
        recipe = recipe if kind == "torchvision" else replace(recipe, model=replace(recipe.model, width=0.0625))
        checkpoint(tmp_path / f"{kind}.pt", recipe)
    for seed in ("1", "2"):
        (tmp_path / seed).mkdir()
        command = [sys.executable, "-c", EXPORT, str(tmp_path / seed), *FORMATS]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": seed})
    for kind in FORMATS:
        assert (tmp_path / "1" / kind).read_bytes() == (tmp_path / "2" / kind).read_bytes(), kind


def test_weights_that_are_no_numbers_are_not_exported(tmp_path: Path) -> None:
    path, _ = checkpoint(tmp_path / "a.pt", load_recipe("demo", ["width=0.0625", "num_classes=7"]))
    content = load_checkpoint(path)
    content["model"]["conv3.bias"][0] = float("nan")
    save_checkpoint(path, content)
    for to in FORMATS:
        with pytest.raises(AlexnetError, match="conv3.bias is .* with numbers that are not finite"):
            export(path, to, tmp_path / "a")


def test_torchvisions_network_takes_the_file(tmp_path: Path, torchvisions_alexnet: Callable[[int], nn.Module]) -> None:
    path, model = checkpoint(tmp_path / "a.pt", load_recipe("torchvision", ["num_classes=10"]))
    told = export(path, "torchvision", tmp_path / "a.pth")
    network = torchvisions_alexnet(10)
    network.load_state_dict(torch.load(tmp_path / "a.pth", weights_only=True))
    x = images() / 57.4
    torch.testing.assert_close(network(x), model(x), rtol=1e-4, atol=1e-6)
    facts = json.loads(Path(told["input"]).read_text())
    assert told["input"] == f"{tmp_path}/a.pth.json"
    assert facts["classes"][9] == "n9"
    assert facts["input"]["scale"] == pytest.approx(1 / 57.4)
    assert facts["input"]["mean"] == pytest.approx([123.5, 117.25, 104.125])


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
