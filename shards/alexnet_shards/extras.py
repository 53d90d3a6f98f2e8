"""Optional libraries: what to type where one is missing."""

import importlib

from alexnet_shards.errors import AlexnetError


class MissingLibraryError(AlexnetError, ImportError):
    """A library that this work needs is not installed, or what is installed does not load."""


def how_to_install(*extras: str) -> str:
    """The words that name any of the `extras` of setup.cfg that serve: "pip install '.[simd]' or '.[pillow]' …"."""
    return "pip install " + " or ".join(f"'.[{extra}]'" for extra in extras) + " in the checkout"


def missing(library: str, *extras: str, why: str = "") -> MissingLibraryError:
    """The error for a `library` that any of `extras` brings; `why` where it is installed and does not load."""
    what = f"{library} does not load ({why})" if why else f"{library} is not installed"
    return MissingLibraryError(f"{what}; {how_to_install(*extras)}")


def require(module: str, library: str, *extras: str) -> None:
    """Raise MissingLibraryError unless `module` of `library` loads; any of `extras` brings it."""
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == module.partition(".")[0]:
            raise missing(library, *extras) from error
        raise missing(library, *extras, why=f"it lacks {error.name}") from error
    except ImportError as error:
        raise missing(library, *extras, why=str(error).partition("\n")[0]) from error
