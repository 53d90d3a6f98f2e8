"""A checkpoint's network in other formats: safetensors, ONNX and torchvision's AlexNet."""

import contextlib
import io
import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alexnet_network import AlexNet, ModelConfig
from alexnet_shards.errors import AlexnetError
from alexnet_shards.files import output_path, write_atomic
from alexnet_shards.geometry import CROP_PX
from alexnet_train.checkpoint import load_checkpoint
from alexnet_train.evaluate import classifier_of

# Our layer: torchvision.models.alexnet's.
TORCHVISION_LAYERS = {
    "conv1": "features.0",
    "conv2": "features.3",
    "conv3": "features.6",
    "conv4": "features.8",
    "conv5": "features.10",
    "fc6": "classifier.1",
    "fc7": "classifier.4",
    "fc8": "classifier.6",
}
# What torchvision's network fixes; weights of another network mean nothing there.
TORCHVISION_MODEL: dict[str, Any] = {
    "width": 1.0,
    "towers": 1,
    "channels": (64, 192, 384, 256, 256),
    "hidden": 4096,
    "conv1_padding_px": (2, 2),
    "after_conv1": ("relu", "pool"),
    "after_conv2": ("relu", "pool"),
    "pool_px": 3,
    "pool_stride_px": 2,
}


def export(checkpoint: Path, to: str, out: Path) -> dict[str, Any]:
    """Write the network of `checkpoint` to `out` in the format `to`; what was written, for printing.

    Raises AlexnetError where the checkpoint cannot be read, `out` is the checkpoint or no place for a file, the format
    needs a package that is not installed, or the network is not one that the format can hold.
    """
    target = output_path(out, [checkpoint])
    content = load_checkpoint(checkpoint)
    classifier = classifier_of(content, str(checkpoint), torch.device("cpu"))
    model = classifier.model
    if not isinstance(model, AlexNet):
        raise TypeError(f"{type(model)}; expected AlexNet")
    write_atomic(target, WRITERS[to](model.eval(), content))
    return {"checkpoint": str(checkpoint), "to": to, "out": str(out), "bytes": out.stat().st_size}


def safetensors_bytes(model: AlexNet, content: dict[str, Any]) -> bytes:
    """Weights by our names; the recipe and the class list are in the file's metadata as JSON."""
    with _needs("safetensors"):
        from safetensors.torch import save
    metadata = {name: json.dumps(content[name]) for name in ("recipe", "classes", "words")}
    return save({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, metadata)


def onnx_bytes(model: AlexNet, content: dict[str, Any]) -> bytes:
    """An ONNX model: input "image" (N, 3, 224, 224) float32 minus the mean, any N; output "logits" (N, classes)."""
    del content
    with _needs("onnx", "onnxscript"):
        import onnx
        import onnxscript  # noqa: F401  torch's exporter imports it without naming the package that is missing
    image = torch.zeros(2, 3, CROP_PX, CROP_PX)
    with tempfile.TemporaryDirectory() as directory, _silence():
        path = Path(directory) / "model.onnx"
        torch.onnx.export(
            model.to(memory_format=torch.contiguous_format),  # type: ignore[call-overload]
            (image,),
            path,
            input_names=["image"],
            output_names=["logits"],
            dynamic_shapes={"x": {0: torch.export.Dim("batch")}},
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        onnx.checker.check_model(path)
        return path.read_bytes()


def torchvision_bytes(model: AlexNet, content: dict[str, Any]) -> bytes:
    """A state dict that torchvision.models.alexnet(num_classes=…).load_state_dict takes."""
    del content
    buffer = io.BytesIO()
    torch.save(to_torchvision(model), buffer)
    return buffer.getvalue()


WRITERS: dict[str, Callable[[AlexNet, dict[str, Any]], bytes]] = {
    "onnx": onnx_bytes,
    "safetensors": safetensors_bytes,
    "torchvision": torchvision_bytes,
}


def to_torchvision(model: AlexNet) -> dict[str, Tensor]:
    """The weights by torchvision's names; raises AlexnetError unless the network is torchvision's."""
    for name, value in TORCHVISION_MODEL.items():
        found = getattr(model.config, name)
        if found != value:
            raise AlexnetError(
                f"not torchvision's AlexNet: model.{name} is {found!r}, expected {value!r}; "
                "only networks of the recipe torchvision can be exported to it"
            )
    weights = model.state_dict()
    scale = 1.0 if model.config.dropout_scaled_in == "train" else 1 - model.config.dropout
    renamed = {}
    for ours, theirs in TORCHVISION_LAYERS.items():
        # Values that ours halves in test come to torchvision's next layer whole, so its weights are halved instead.
        factor = scale if ours in _scaled_layers(model.config) else 1.0
        renamed[f"{theirs}.weight"] = (weights[f"{ours}.weight"] * factor).contiguous()
        renamed[f"{theirs}.bias"] = weights[f"{ours}.bias"].clone()
    return renamed


def _scaled_layers(config: ModelConfig) -> tuple[str, str]:
    """The layers whose inputs come out of dropout."""
    return ("fc6", "fc7") if config.dropout_at == "inputs" else ("fc7", "fc8")


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Hide what torch's exporter tells of its own parts; errors come as exceptions."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _needs(*packages: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise AlexnetError(
            f"{' and '.join(packages)} not installed ({error.name}); pip install 'alexnet-replication[export]'"
        ) from error
