"""A checkpoint's network in other formats, with what a user needs to feed it: safetensors, ONNX, torchvision's AlexNet."""

import io
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alexnet_network import AlexNet, Classifier
from alexnet_pixels import PixelRecipe
from alexnet_shards.errors import AlexnetError
from alexnet_shards.extras import missing
from alexnet_shards.files import output_path, write_atomic
from alexnet_shards.geometry import IMAGE_PX
from alexnet_shards.parsing import Where, parse_json
from alexnet_train.checkpoint import load_checkpoint
from alexnet_train.evaluate import classifier_of
from alexnet_train.feeding import input_facts, metadata
from alexnet_train.torchvision import torchvision_state

FORMATS = ("onnx", "safetensors", "torchvision")
SAFETENSORS_ALIGNMENT = 8


def export(checkpoint: Path, to: str, out: Path, with_input: int = 0) -> dict[str, Any]:
    """Write the network of `checkpoint` to `out` in the format `to` (FORMATS); what was written, for printing.

    With `with_input`, an ONNX model takes uint8 NHWC images of that side (IMAGE_PX, or the network's crop) and gives
    probabilities. Raises AlexnetError where the checkpoint cannot be read or its weights are no numbers, `out` is the
    checkpoint or no place for a file, the format needs a package that is not installed, or cannot hold the network.
    """
    target = output_path(out, [checkpoint])
    content = load_checkpoint(checkpoint)
    classifier = classifier_of(content, str(checkpoint), torch.device("cpu"))
    model = classifier.model
    if not isinstance(model, AlexNet):
        raise TypeError(f"{type(model)}; expected AlexNet")
    broken = [name for name, tensor in model.state_dict().items() if not bool(tensor.isfinite().all())]
    if broken:
        raise AlexnetError(f"{checkpoint}: {broken[0]} holds values that are no numbers; use an older checkpoint")
    facts = input_facts(classifier, PixelRecipe.from_dict(content.get("pixels", {})))
    texts = metadata(classifier, content, facts)
    told: dict[str, Any] = {"checkpoint": str(checkpoint), "to": to, "out": str(out)}
    if to == "onnx":
        told |= _write_onnx(target, classifier, model.eval(), texts, with_input)
    elif with_input:
        raise AlexnetError(f"--with-input with --to {to}: only an ONNX model can hold the input's steps; use --to onnx")
    elif to == "torchvision":
        told |= _write_torchvision(target, out, classifier, content, texts)
    else:
        write_atomic(target, safetensors_bytes(model.state_dict(), texts))
    return told | {"bytes": target.stat().st_size}


def safetensors_bytes(tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> bytes:
    """A .safetensors file of float32 tensors and texts, in the order of their names: the same bytes every time.

    The format: the header's length as a little-endian u64, the header as JSON, the numbers without gaps.
    """
    header: dict[str, Any] = {"__metadata__": dict(sorted(texts.items()))}
    parts, place = [], 0
    for name, tensor in sorted(tensors.items()):
        parts.append(tensor.detach().cpu().contiguous().numpy().astype("<f4").tobytes())
        place_after = place + len(parts[-1])
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [place, place_after]}
        place = place_after
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % SAFETENSORS_ALIGNMENT)
    return b"".join([struct.pack("<Q", len(text)), text, *parts])


def _write_onnx(
    target: Path, classifier: Classifier, model: AlexNet, texts: Mapping[str, str], side_px: int
) -> dict[str, Any]:
    """Write an ONNX model, and say in which version of the format."""
    crop_px = classifier.input.view_crop_px
    if side_px not in (0, IMAGE_PX, crop_px):
        raise AlexnetError(
            f"--with-input {side_px}: this network sees {crop_px} pixels of {IMAGE_PX}; give one of them"
        )
    try:
        from alexnet_network.onnxgraph import IR_VERSION, OPSET, onnx_model
    except ImportError as error:
        raise missing("onnx", "export", why="" if error.name == "onnx" else str(error)) from error
    stats = classifier.stats if side_px else None
    write_atomic(target, onnx_model(model, texts, classifier.input, stats, side_px))
    name = f"uint8 RGB (N, {side_px}, {side_px}, 3)" if side_px else f"float32 (N, 3, {crop_px}, {crop_px})"
    return {"input": name, "ir_version": IR_VERSION, "opset": OPSET, "read_by": "onnxruntime 1.0 and later"}


def _write_torchvision(
    target: Path, out: Path, classifier: Classifier, content: dict[str, Any], texts: Mapping[str, str]
) -> dict[str, Any]:
    """Write a state dict that torchvision.models.alexnet(num_classes=…).load_state_dict takes, and beside it the JSON."""
    state, changes = torchvision_state(classifier, content)
    where = Where(path=out, what="facts", remedy="this is a bug, please report it")
    found = {name: parse_json(text.encode(), where) for name, text in texts.items()}
    facts = {**found, **changes, "input": found["input"] | changes.get("input", {})}
    beside = target.with_name(f"{target.name}.json")
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomic(output_path(beside), json.dumps(facts, indent=1, allow_nan=False).encode() + b"\n")
    write_atomic(target, buffer.getvalue())
    return {"input": f"{out}.json"}
