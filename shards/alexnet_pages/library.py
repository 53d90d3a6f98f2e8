"""The library that draws charts in a page, as vl-convert bundles it: two seconds of work, kept for this user."""

import functools
import hashlib
import importlib.metadata

from alexnet_shards.errors import AlexnetError
from alexnet_shards.files import own_directory, write_atomic
from alexnet_shards.native import cache_home

DIGEST_CHARACTERS = 64


@functools.cache
def chart_library() -> str:
    """JavaScript that defines vegaEmbed, to stand in a page. Kept in the cache where there is one, by its version."""
    name = f"vega-{importlib.metadata.version('vl-convert-python')}.js"
    try:
        directory = own_directory(own_directory(cache_home(), private=True) / "pages", private=True)
        kept = (directory / name).read_text()
        if hashlib.sha256(kept[DIGEST_CHARACTERS:].encode()).hexdigest() == kept[:DIGEST_CHARACTERS]:
            return kept[DIGEST_CHARACTERS:]
    except FileNotFoundError:
        pass
    except (AlexnetError, OSError, UnicodeError):
        return _bundled()
    library = _bundled()
    write_atomic(directory / name, (hashlib.sha256(library.encode()).hexdigest() + library).encode(), private=True)
    return library


def _bundled() -> str:
    import vl_convert

    library: str = vl_convert.javascript_bundle(None)  # type: ignore[arg-type]  # its default
    return library
