"""Files of published weights as strangers offer them: what they are, whether they are whole, and the state dict in them."""

import pickle
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alexnet_shards.errors import FormatError
from alexnet_shards.files import file_sha256

HEAD_BYTES = 4096
MAX_LEVELS = 3  # of dicts in dicts that are looked through for the weights
# A hash in a file's name, as torch.hub writes it: the first digits of the sha256. Eight decimal digits may be a date.
NAMED_HASH = re.compile(r"-((?=[0-9]*[a-f])[0-9a-f]{8,64})(?:[ _.]?\(?\d*\)?)?\.\w+$")
ASKS_FOR = re.compile(r"GLOBAL ([\w.]+)")
WRAPPERS = re.compile(r"(^|\.)(module|_orig_mod)(?=\.)")  # of DataParallel and torch.compile
ZIP, PICKLE, NPY = b"PK\x03\x04", b"\x80", b"\x93NUMPY"

# What is offered instead of weights, by its beginning: (what it is, how it begins, what to do).
WRONG_FILES = (
    ("an empty file", rb"\Z", "download it again"),
    ("an HTML page", rb"(\xef\xbb\xbf)?\s*<(!doctype|html|head|body|\?xml)", "download the file that the page offers"),
    (
        "a .prototxt, which describes a network and has no weights",
        rb"(\s*#[^\n]*\n)*\s*(name|layers?|input|input_dim|net|train_net|state|force_backward|base_lr)\s*[:{]",
        "name the .caffemodel",
    ),
    ("a Git LFS pointer", rb"version https://git-lfs", "fetch the file itself with git lfs pull"),
    ("a .safetensors file", rb".{8}\{\s*\"", "load it with safetensors.torch.load_file, and torch.save what comes"),
    ("an HDF5 file", rb"\x89HDF", "save the weights as .caffemodel (protocol buffer) or .pth"),
    ("a gzip archive", rb"\x1f\x8b", "unpack it"),
    ("a tar archive", rb".{257}ustar", "unpack it"),
)


def check_file(path: Path) -> bytes:
    """The file's beginning; raises FormatError where it cannot be read, is known not to be weights, or is not what the
    hash in its name says."""
    try:
        if path.is_dir():
            raise FormatError(f"{path}: a folder; name the file of weights in it")
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except FileNotFoundError as error:
        raise FormatError(f"{path}: no such file; expected published weights") from error
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror}); make it readable") from error
    if path.suffix == ".onnx":
        raise FormatError(f"{path}: an ONNX model; name the weights that it was made of")
    for name, beginning, remedy in WRONG_FILES:
        if re.match(beginning, head, re.DOTALL | re.IGNORECASE):
            raise FormatError(f"{path}: {name}; {remedy}")
    _check_named_hash(path)
    return head


def read_state(path: Path, wanted: str) -> dict[str, Tensor]:
    """The tensors of a file of torch.save that holds one of the name `wanted`, by their names.

    They may lie below `state_dict`, `model` and the like, and be named as DataParallel and torch.compile name them.
    Raises FormatError for anything else, damage included: every byte of an archive is checked.
    """
    head = check_file(path)
    if head.startswith(NPY) or path.suffix == ".caffemodel":
        raise FormatError(f"{path}: not a file of torch.save; weights of Caffe are imported with --from caffe")
    if not head.startswith((ZIP, PICKLE)):
        raise FormatError(f"{path}: not a file of torch.save; expected a .pth file of torchvision's alexnet")
    if head.startswith(ZIP):
        _check_archive(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        asked = ASKS_FOR.search(str(error))
        if asked is None:
            raise FormatError(f"{path}: damaged: it cannot be unpickled; download it again") from error
        raise FormatError(
            f"{path}: a whole pickled model, or other objects ({asked[1]}), which would run code; where it loads, save "
            "its weights alone: torch.save(model.state_dict(), FILE)"
        ) from error
    # What torch's readers raise for damaged bytes, the old format's included.
    except (OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise FormatError(f"{path}: damaged: torch cannot read it; download it again") from error
    return _find_state(path, content, wanted)


def _check_named_hash(path: Path) -> None:
    named = NAMED_HASH.search(path.name)
    if named is None:
        return
    found = file_sha256(path)
    if not found.startswith(named[1]):
        raise FormatError(
            f"{path}: its sha256 begins with {found[: len(named[1])]}, its name says {named[1]}: damaged or another file; "
            "download it again"
        )


def _check_archive(path: Path) -> None:
    """Raise FormatError where an archive is damaged, or is not of torch.save."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.partition("/")[2] for name in archive.namelist()]
            damaged = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise FormatError(f"{path}: damaged: not a whole archive; download it again") from error
    if damaged is not None:
        raise FormatError(f"{path}: damaged: the checksum of {damaged} is wrong; download it again")
    if "constants.pkl" in names:
        raise FormatError(
            f"{path}: a TorchScript archive; save its weights alone: torch.save(torch.jit.load(FILE).state_dict(), NEW)"
        )
    if "data.pkl" not in names:
        raise FormatError(f"{path}: a ZIP archive that is not of torch.save; expected a .pth file")


def _find_state(path: Path, content: Any, wanted: str) -> dict[str, Tensor]:
    if isinstance(content, Tensor):
        raise FormatError(
            f"{path}: a single tensor of shape {tuple(content.shape)}; expected a state dict of all layers"
        )
    if not isinstance(content, Mapping):
        raise FormatError(f"{path}: a {type(content).__name__}; expected a state dict of all layers")
    if content.get("format") == "alexnet-checkpoint":
        raise FormatError(f"{path}: a checkpoint of alexnet-train; use it as it is with --checkpoint")
    found = dict(_states(content, wanted, "", MAX_LEVELS))
    if len(found) > 1:
        raise FormatError(f"{path}: holds several networks ({', '.join(found)}); save the state dict of one alone")
    if not found:
        names = ", ".join(sorted(str(name) for name in content)[:3])
        raise FormatError(f"{path}: no {wanted} in it (it has {names or 'nothing'}); expected torchvision's alexnet")
    (state,) = found.values()
    return state


def _states(
    content: Mapping[Any, Any], wanted: str, where: str, levels: int
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """(place, tensors by their plain names) of every level of `content` that holds the tensor `wanted`."""
    tensors = {_plain(name): value for name, value in content.items() if isinstance(value, Tensor)}
    prefixes = {name.removesuffix(wanted) for name in tensors if name == wanted or name.endswith(f".{wanted}")}
    for prefix in sorted(prefixes):
        own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        yield f"{where}{prefix}".rstrip(".") or "top level", own
    for name, value in content.items():
        if isinstance(value, Mapping) and levels > 0:
            yield from _states(value, wanted, f"{where}{name}.", levels - 1)


def _plain(name: Any) -> str:
    """A parameter's name without what DataParallel and torch.compile put into it."""
    return WRAPPERS.sub(lambda match: "", str(name)).removeprefix(".")
