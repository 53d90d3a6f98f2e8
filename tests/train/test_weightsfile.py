"""Strangers' weight files: taken where the meaning is plain, else one line with what it is and what to do."""

import hashlib
import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from alexnet_shards.errors import FormatError
from alexnet_train.weightsfile import check_file, read_state

WANTED = "features.0.weight"


class Small(nn.Module):
    """Something whose parameters are named as torchvision's."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        self.classifier = nn.Sequential(nn.Linear(4, 2))

    def forward(self, x: Tensor) -> Tensor:
        """Anything that can be scripted."""
        y: Tensor = self.features(x)
        return y


def renamed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


LEVELS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "plain": lambda state: state,
    "DataParallel": lambda state: renamed("module.", state),
    "compiled": lambda state: renamed("_orig_mod.", state),
    "both": lambda state: renamed("module._orig_mod.", state),
    "parallel features": lambda state: {
        name.replace("features.", "features.module."): tensor for name, tensor in state.items()
    },
    "Lightning": lambda state: {"epoch": 3, "state_dict": renamed("model.", state), "optimizer_states": [1]},
    "state_dict": lambda state: {"epoch": 90, "arch": "alexnet", "state_dict": renamed("module.", state)},
    "model": lambda state: {"model": state, "optimizer": {"state": {}, "param_groups": []}, "args": None},
    "two levels": lambda state: {"checkpoint": {"model_state_dict": state}},
}


@pytest.mark.parametrize("level", LEVELS)
def test_levels_and_prefixes_are_plain(level: str, tmp_path: Path) -> None:
    state = Small().state_dict()
    torch.save(LEVELS[level](state), tmp_path / "a.pth")
    found = read_state(tmp_path / "a.pth", WANTED)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())


def test_the_old_form_of_torch_save_is_read(tmp_path: Path) -> None:
    torch.save(Small().state_dict(), tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    assert WANTED in read_state(tmp_path / "a.pth", WANTED)
    content = (tmp_path / "a.pth").read_bytes()
    (tmp_path / "a.pth").write_bytes(content[: len(content) // 2])
    with pytest.raises(FormatError, match="damaged"):
        read_state(tmp_path / "a.pth", WANTED)


def safetensors() -> bytes:
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(4)


CONTENTS: dict[str, tuple[bytes, str]] = {
    "empty.pth": (b"", "an empty file; download it again"),
    "page.pth": (b"\n<!DOCTYPE html>\n<html><title>Google Drive</title>", "an HTML page; download the file"),
    "page.caffemodel": (b"<html>", "an HTML page"),
    "train_val.prototxt": (b'# AlexNet\nname: "AlexNet"\nlayer {\n', r"a \\.prototxt, which .* name the \\.caffemodel"),
    "deploy.caffemodel": (b'input: "data"\ninput_dim: 10\n', r"a \\.prototxt"),
    "solver.prototxt": (b'net: "models/train_val.prototxt"\n', r"a \\.prototxt"),
    "a.safetensors": (safetensors(), r"a \\.safetensors file; load it with safetensors.torch.load_file"),
    "a.h5": (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    "a.pth.gz": (b"\x1f\x8b\x08", "a gzip archive; unpack it"),
    "lfs.pth": (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
    "a.onnx": (b"\x08\x03\x12\x04abcd", "an ONNX model"),
    "noise.pth": (bytes(range(1, 200)), "not a file of torch.save"),
    "a.npy": (b"\x93NUMPY\1\0", "weights of Caffe are imported with --from caffe"),
    "a.caffemodel": (b"\x0a\x07AlexNet", "weights of Caffe are imported with --from caffe"),
    "broken.pth": (b"PK\x03\x04" + bytes(100), "damaged: not a whole archive"),
    "pickle.pth": (pickle.dumps({"a": 1})[:-3], "damaged"),
    "code.pth": (b"\x80\x02cos\nsystem\nX\x02\0\0\0ls\x85R.", "damaged|a whole pickled model, or other objects"),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_what_it_is_and_what_to_do(name: str, tmp_path: Path) -> None:
    content, message = CONTENTS[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatError, match=message.replace("\\\\", "\\")) as found:
        read_state(tmp_path / name, WANTED)
    assert "\n" not in str(found.value)
    assert "weights_only" not in str(found.value)


OBJECTS: dict[str, tuple[Callable[[], Any], str]] = {
    "tensor": (lambda: torch.zeros(3, 4), r"a single tensor of shape \(3, 4\)"),
    "list": (lambda: [torch.zeros(3)], "a list; expected a state dict"),
    "model": (
        Small,
        r"a whole pickled model, or other objects \([\w.]*test_weightsfile.Small\).*torch.save\(model.state_dict",
    ),
    "other": (lambda: {"conv1.weight": torch.zeros(1)}, r"no features.0.weight in it \(it has conv1.weight\)"),
    "two": (lambda: {"model": Small().state_dict(), "ema": Small().state_dict()}, r"several networks \(model, ema\)"),
    "ours": (lambda: {"format": "alexnet-checkpoint", "model": {}}, "a checkpoint of alexnet-train; use it as it is"),
}


@pytest.mark.parametrize("name", OBJECTS)
def test_other_objects_of_torch(name: str, tmp_path: Path) -> None:
    make, message = OBJECTS[name]
    torch.save(make(), tmp_path / "a.pth")
    with pytest.raises(FormatError, match=message) as found:
        read_state(tmp_path / "a.pth", WANTED)
    assert "\n" not in str(found.value)


def test_torchscript_is_named(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(Small()), tmp_path / "a.pth")
    with pytest.raises(FormatError, match=r"a TorchScript archive; .*torch.jit.load\(FILE\).state_dict\(\)"):
        read_state(tmp_path / "a.pth", WANTED)
    np.savez(tmp_path / "b.npz", a=np.zeros(3))
    with pytest.raises(FormatError, match="a ZIP archive that is not of torch.save"):
        read_state(tmp_path / "b.npz", WANTED)


def test_every_byte_of_an_archive_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save(Small().state_dict(), path)
    content = bytearray(path.read_bytes())
    place = content.index(Small().state_dict()[WANTED].numpy().tobytes()[:0] or b"data/0") + 200
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(FormatError, match="damaged"):
        read_state(path, WANTED)


def test_a_hash_in_the_name_is_compared(tmp_path: Path) -> None:
    torch.save(Small().state_dict(), tmp_path / "a.pth")
    digest = hashlib.sha256((tmp_path / "a.pth").read_bytes()).hexdigest()
    content = (tmp_path / "a.pth").read_bytes()
    right = [f"alexnet-owt-{digest[:8]}.pth", f"alexnet-owt-{digest[:8]} (1).pth", f"alexnet-{digest}.pth"]
    for name in ("alexnet.pth", "alexnet-20240131.pth", "my-alexnet-best.pth", "alexnet-deadbeef-mine.pth"):
        (tmp_path / name).write_bytes(content)
        check_file(tmp_path / name)
    if not digest[:8].isdecimal():
        for name in right:
            (tmp_path / name).write_bytes(content)
            check_file(tmp_path / name)
    for name in ("alexnet-owt-7be5be79.pth", "alexnet-owt-7be5be79 (2).pth"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FormatError, match=f"its sha256 begins with {digest[:8]}, its name says 7be5be79"):
            check_file(tmp_path / name)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no such file"):
        check_file(tmp_path / "absent.pth")
    with pytest.raises(FormatError, match="a folder; name the file"):
        check_file(tmp_path)
