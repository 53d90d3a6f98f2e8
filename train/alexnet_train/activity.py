"""What a network's layers do with the same few images after each epoch: how strong they answer, which units never do."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from alexnet_network import AlexNet
from alexnet_shards import FormatError, ShardSet
from alexnet_shards.files import append_bytes, atomic_file
from alexnet_shards.parsing import Where, load_npz
from alexnet_stream import ShardDataset

IMAGES = 64
DIRECTORY_NAME, STARTS_NAME = "looks", "starts.txt"
LIMITS = {"names": 1 << 16, "norms": 1 << 16, "dead": 1 << 16, "units": 1 << 16}
MAX_STARTS_BYTES = 1 << 16


@dataclass(frozen=True, kw_only=True, eq=False)
class Activity:
    """For each of L layers that are rectified: `norms` (L,) float32, the mean over images of the Euclidean norm of what is
    above zero; how many of its `units` (maps of a convolution) are `dead`: below zero everywhere in every image."""

    names: tuple[str, ...]
    norms: npt.NDArray[np.float32]
    dead: npt.NDArray[np.int64]
    units: npt.NDArray[np.int64]


def fixed_images(shards: ShardSet) -> npt.NDArray[np.uint8]:
    """(IMAGES, 256, 256, 3) uint8 at even distances in the index, or all; raises AlexnetError as reading does."""
    rows = np.unique(np.linspace(0, shards.num_samples - 1, min(IMAGES, shards.num_samples)).round().astype(np.int64))
    with ShardDataset(shards) as dataset:
        return np.stack([image_hwc for image_hwc, _ in dataset.__getitems__(rows.tolist())])


@torch.no_grad()
def measure_activity(model: AlexNet, inputs_nchw: Tensor) -> Activity:
    """What the layers of `model` do with (N, 3, 224, 224) float32; the model is not touched: another one has its weights."""
    with torch.device("meta"):
        shadow = AlexNet(model.config)
    shadow.load_state_dict(model.state_dict(), assign=True)
    shadow.eval()
    found: dict[str, tuple[Tensor, Tensor, int]] = {}

    def keep(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(layer: nn.Module, inputs: Any, output: Tensor) -> None:
            above = output.flatten(2) if output.dim() > 2 else output[:, :, None]
            alive = (above > 0).any(2).any(0)
            found[name] = (above.clamp(min=0).flatten(1).norm(dim=1).mean(), (~alive).sum(), len(alive))

        return hook

    layers = [(name, layer) for name, layer in shadow.named_children() if isinstance(layer, nn.Conv2d | nn.Linear)]
    for name, layer in layers[:-1]:  # behind the last there is no rectifier
        layer.register_forward_hook(keep(name))
    shadow(inputs_nchw)
    return Activity(
        names=tuple(found),
        norms=np.array([float(norm) for norm, _, _ in found.values()], np.float32),
        dead=np.array([int(dead) for _, dead, _ in found.values()], np.int64),
        units=np.array([units for _, _, units in found.values()], np.int64),
    )


def save_activity(out_dir: Path, epoch: int, activity: Activity) -> None:
    """Keep it in a run's directory, whole or not at all."""
    path = out_dir / DIRECTORY_NAME / f"activity-{epoch:04d}.npz"
    path.parent.mkdir(exist_ok=True)
    with atomic_file(path) as file:
        names = np.array("\n".join(activity.names))
        np.savez(file, names=names, norms=activity.norms, dead=activity.dead, units=activity.units)


def load_activities(out_dir: Path) -> Iterator[tuple[int, Activity]]:
    """(epoch, activity) of every one that is kept in a run's directory and can be read, by epoch."""
    for path in sorted((out_dir / DIRECTORY_NAME).glob("activity-*.npz")):
        number = path.stem.removeprefix("activity-")
        try:
            arrays = load_npz(Where(path=path, what="activity", remedy="it may be removed"), LIMITS)
            names = tuple(str(arrays.pop("names")).split("\n"))
            if number.isdecimal() and {array.shape for array in arrays.values()} == {(len(names),)}:
                yield int(number), Activity(names=names, **arrays)
        except (FormatError, FileNotFoundError, ValueError):
            continue  # a page without it is better than none


def note_start(out_dir: Path, step: int) -> None:
    """Add the step at which a run begins or goes on to its list of starts."""
    path = out_dir / DIRECTORY_NAME / STARTS_NAME
    path.parent.mkdir(exist_ok=True)
    append_bytes(path, f"{step}\n".encode())


def load_resumes(out_dir: Path) -> list[int]:
    """The steps at which a run went on, ascending, each once; none where nothing says so."""
    try:
        with (out_dir / DIRECTORY_NAME / STARTS_NAME).open("rb") as file:
            words = file.read(MAX_STARTS_BYTES).split()
    except OSError:
        return []
    return sorted({int(word) for word in words if word.isdigit()} - {0})
