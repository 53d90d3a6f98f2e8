"""Two Pillows in one place: pillow-simd and Pillow are both the module PIL, and pip puts one over the other in silence."""

import os


def warn_of_two_pillows() -> None:
    """A line to stderr where the Pillow that runs is not the one that was installed; one of a run's processes says it."""
    warning = pillow_warning() if os.environ.get("RANK", "0") == "0" else None
    if warning is not None:
        from alexnet_command.printing import say

        say(f"warning: {warning}")


def pillow_warning() -> str | None:
    """One line where pillow and pillow-simd are installed over each other; None where all is well, or neither is there."""
    simd = _installed("pillow-simd")
    if simd is None:
        return None
    try:
        from PIL import __version__ as running
    except ImportError:
        running = "gone"
    return overwritten(_installed("pillow"), simd, running)


def overwritten(pillow: str | None, pillow_simd: str | None, running: str) -> str | None:
    """The warning for the installed versions (None: not installed) and the one that runs."""
    if pillow_simd is None or (pillow is None and running == pillow_simd):
        return None
    remedy = "run: pip uninstall -y pillow pillow-simd && pip install pillow-simd"
    if pillow is not None:
        return f"pillow {pillow} and pillow-simd {pillow_simd} are both installed, PIL is {running}; {remedy}"
    return f"pillow-simd {pillow_simd} is installed, but PIL is {running}: it was overwritten; {remedy}"


def _installed(name: str) -> str | None:
    import importlib.metadata  # as help is printed without it

    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
