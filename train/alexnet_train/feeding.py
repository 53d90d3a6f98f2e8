"""What a user of an exported network needs to feed it and to read its answers, as JSON."""

import base64
import json
from typing import Any

import numpy as np

from alexnet_network import Classifier
from alexnet_pixels import PixelRecipe
from alexnet_shards.geometry import IMAGE_PX


def input_facts(classifier: Classifier, pixels: PixelRecipe) -> dict[str, Any]:
    """How an image becomes the network's input: the shards' pixels (recipe `pixels`), crop, mean, scale, layout.

    `mean` is a number a channel, in grey levels; "mean_image" where a whole image is subtracted, which metadata() has.
    """
    config, stats = classifier.input, classifier.stats
    means: dict[str, Any] = {
        "image": "mean_image",
        "channel": [float(mean) for mean in stats.channel_mean_nchw.flatten()],
        "none": [0.0, 0.0, 0.0],
    }
    return {
        "image": pixels.as_dict(),
        "side_px": IMAGE_PX,
        "crop": "centre",
        "crop_px": config.view_crop_px,
        "channels": "RGB",
        "layout": "NCHW",
        "dtype": "float32",
        "levels": [0, 255],
        "mean": means[config.mean],
        "scale": 1 / config.divisor(training=False),
        "formula": "(levels - mean) * scale",
    }


def metadata(classifier: Classifier, content: dict[str, Any], facts: dict[str, Any]) -> dict[str, str]:
    """JSON texts: recipe, classes (WNIDs), words, input (`facts`), and mean_image where that is subtracted.

    mean_image is {"shape": (3, rows, columns), "dtype": "<f4", "base64"}, of RGB in grey levels.
    """
    found = {name: content[name] for name in ("recipe", "classes", "words")} | {"input": facts}
    if facts["mean"] == "mean_image":
        mean_chw = classifier.stats.mean_nchw[0].cpu().numpy().astype("<f4")
        text = base64.b64encode(np.ascontiguousarray(mean_chw).tobytes()).decode()
        found["mean_image"] = {"shape": mean_chw.shape, "dtype": "<f4", "base64": text}
    return {name: json.dumps(value, allow_nan=False) for name, value in found.items()}
