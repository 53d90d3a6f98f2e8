"""Which Pillow decodes: pillow-simd or the stock one."""

import importlib.metadata
import re

import PIL
from PIL import features


def decoder_facts() -> dict[str, str]:
    """The running Pillow (pillow-simd's version ends in .postN), the libjpeg-turbo it is linked with, and simplejpeg,
    which brings one of its own."""
    name = "pillow-simd" if is_simd(PIL.__version__) else "pillow"
    return {
        name: PIL.__version__,
        "libjpeg-turbo": features.version_feature("libjpeg_turbo") or "none",
        "simplejpeg": importlib.metadata.version("simplejpeg"),
    }


def is_simd(version: str) -> bool:
    """Whether a version is one of pillow-simd's."""
    return re.search(r"\.post\d+$", version) is not None
