"""Which Pillow decodes: pillow-simd or the stock one, and whether both were installed over each other."""

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


def decoder_warning() -> str | None:
    """One line where pillow and pillow-simd, both the module PIL, are installed over each other; None where all is well."""
    return overwritten(_installed("pillow"), _installed("pillow-simd"), PIL.__version__)


def overwritten(pillow: str | None, pillow_simd: str | None, running: str) -> str | None:
    """The warning for the installed versions (None: not installed) and the one that runs."""
    if pillow_simd is None or (pillow is None and running == pillow_simd):
        return None
    remedy = "run: pip uninstall -y pillow pillow-simd && pip install pillow-simd"
    if pillow is not None:
        return f"pillow {pillow} and pillow-simd {pillow_simd} are both installed, PIL is {running}; {remedy}"
    return f"pillow-simd {pillow_simd} is installed, but PIL is {running}: it was overwritten; {remedy}"


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
