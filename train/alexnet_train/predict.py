"""What a checkpoint sees in image files: class probabilities over one or ten views."""

import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from alexnet_network import Classifier
from alexnet_pixels import BadImage, PixelRecipe, shard_pixels
from alexnet_shards.errors import AlexnetError
from alexnet_train.results import ranked

MAX_FILE_BYTES = 512 << 20


class BadFile(AlexnetError):
    """An image file that holds no usable image or cannot be read; the others are still seen."""


def predict(
    classifier: Classifier,
    paths: Sequence[Path],
    pixels: PixelRecipe,
    *,
    views: int,
    top: int,
    on_bad: Callable[[BadFile], None],
) -> list[dict[str, Any]]:
    """For each image file {"image", "predictions"}: its `top` most probable classes, the best first, equals by number.

    The image becomes what a shard of the recipe `pixels` would hold of it. Files without a usable image are left out and
    told to `on_bad`. Raises AlexnetError where the network's outputs are no numbers.
    """
    device = classifier.stats.mean_nchw.device
    found = []
    for path in paths:
        try:
            image_nhwc = torch.from_numpy(load_image(path, pixels))[None].to(device)
        except BadFile as error:
            on_bad(error)
            continue
        scores = classifier.log_probabilities(image_nhwc, views).cpu()
        if not bool(scores.isfinite().all()):
            raise AlexnetError(
                "the network's outputs are no numbers (NaN or infinite), its training has diverged; use an older checkpoint"
            )
        predictions = [
            {"class": label, **class_names(classifier, label), "probability": scores[0, label].exp().item()}
            for label in ranked(scores, top)[0].tolist()
        ]
        found.append({"image": str(path), "predictions": predictions})
    return found


def load_image(path: Path, pixels: PixelRecipe) -> npt.NDArray[np.uint8]:
    """(256, 256, 3) uint8 RGB: what the stream would yield of this file's image from a shard of the recipe `pixels`.

    Raises BadFile for a file that cannot be read or is not a whole image.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise BadFile(
                f"{path}: {'a folder' if stat.S_ISDIR(status.st_mode) else 'no regular file'}; name image files"
            )
        if status.st_size > MAX_FILE_BYTES:
            raise BadFile(f"{path}: {status.st_size:,} bytes; an image file has at most {MAX_FILE_BYTES:,}")
        with path.open("rb") as file:
            source = file.read(MAX_FILE_BYTES)
    except FileNotFoundError as error:
        raise BadFile(f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        raise BadFile(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    try:
        return shard_pixels(source, pixels)
    except BadImage as error:
        raise BadFile(f"{path}: {error}") from error


def load_images(paths: Sequence[Path], pixels: PixelRecipe) -> npt.NDArray[np.uint8]:
    """(N, 256, 256, 3) uint8 of files that load_image has read before; raises BadFile as that does."""
    return np.stack([load_image(path, pixels) for path in paths])


def likeliest(found: Sequence[dict[str, Any]], count: int) -> list[str]:
    """The WNIDs of the `count` likeliest classes of each picture that `predict` found, each once."""
    return list(dict.fromkeys(guess["wnid"] for one in found for guess in one["predictions"][:count]))


def class_names(classifier: Classifier, label: int) -> dict[str, str]:
    """The WNID and the words of a class; one that the class list does not have goes by its number."""
    if label >= len(classifier.classes):
        return {"wnid": str(label), "words": ""}
    fact = classifier.classes[label]
    return {"wnid": fact.wnid, "words": fact.words}
