"""What a checkpoint sees in image files: class probabilities over one or ten views."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from alexnet_network import Classifier
from alexnet_shards.errors import AlexnetError
from alexnet_shards.geometry import IMAGE_PX


def predict(classifier: Classifier, paths: Sequence[Path], *, views: int, top: int) -> list[dict[str, Any]]:
    """For each image file {"image", "predictions"}: its `top` most probable classes, the best first.

    Raises AlexnetError for a file that is not a whole image.
    """
    device = classifier.stats.mean_nchw.device
    found = []
    for path in paths:
        image_nhwc = torch.from_numpy(load_image(path))[None].to(device)
        best = classifier.probabilities(image_nhwc, views)[0].topk(min(top, len(classifier.classes)))
        predictions = [
            {"class": label, **_class_names(classifier, label), "probability": probability}
            for probability, label in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]
        found.append({"image": str(path), "predictions": predictions})
    return found


def load_image(path: Path) -> npt.NDArray[np.uint8]:
    """(256, 256, 3) uint8 RGB: shorter side to 256 and the centre 256x256, as the shards were made (paper section 2).

    Raises AlexnetError for a file that is not a whole image.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                rgb = image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = str(error).partition("\n")[0]
        raise AlexnetError(f"{path}: not a readable image ({reason}); expected a JPEG or PNG file") from error
    short_px = min(rgb.size)
    kernel = Image.Resampling.HAMMING if short_px > IMAGE_PX else Image.Resampling.BICUBIC
    size_px = tuple((2 * side_px * IMAGE_PX + short_px) // (2 * short_px) for side_px in rgb.size)
    left_px, top_px = ((side_px - IMAGE_PX) // 2 for side_px in size_px)
    box = [left_px, top_px, left_px + IMAGE_PX, top_px + IMAGE_PX]
    scale = [rgb.size[axis % 2] / size_px[axis % 2] for axis in range(4)]
    left, top, right, bottom = (edge * factor for edge, factor in zip(box, scale, strict=True))
    source_box = (left, top, min(right, rgb.width), min(bottom, rgb.height))
    return np.array(rgb.resize((IMAGE_PX, IMAGE_PX), kernel, box=source_box))


def _class_names(classifier: Classifier, label: int) -> dict[str, str]:
    fact = classifier.classes[label]
    return {"wnid": fact.wnid, "words": fact.words}
