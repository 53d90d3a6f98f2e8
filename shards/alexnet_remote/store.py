"""One try at a file of an object store, or of anything else that fsspec reads."""

from collections.abc import Iterator
from typing import Any

from alexnet_remote.outcome import Head, named_errors
from alexnet_shards.errors import AlexnetError
from alexnet_shards.shown import public_address

PIECE_BYTES = 8 << 20  # a request each


def store_answer(url: str, start: int) -> Iterator[Head | bytes]:
    """The head of the file at `url`, then its bytes from `start` on; raises the outcomes."""
    with named_errors(url):
        filesystem, path = filesystem_of(url)
        with filesystem.open(path, "rb", cache_type="none") as file:
            if start:
                file.seek(start)
            # Whether it is still the same file is seen by its sha256; a change costs one more try.
            yield Head(size=getattr(file, "size", None), start=start, version="seekable")
            while piece := file.read(PIECE_BYTES):
                yield piece


def store_size(url: str) -> int | None:
    """Bytes of the file at `url`, None where the store does not tell."""
    with named_errors(url):
        filesystem, path = filesystem_of(url)
        size: int | None = filesystem.info(path).get("size")
        return size


def store_glob(url: str) -> list[str]:
    """Addresses that match a glob at an object store."""
    with named_errors(url):
        filesystem, path = filesystem_of(url)
        protocol = url.partition("://")[0]
        found = filesystem.glob(path)
        return sorted(name if "://" in name else f"{protocol}://{name}" for name in found)


def filesystem_of(url: str) -> tuple[Any, str]:
    """fsspec's file system of `url` and the path there; raises AlexnetError where its protocol is not installed."""
    import fsspec  # only where a store is read: who works on local files need not wait for it

    try:
        filesystem, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise AlexnetError(
            f"{public_address(url)}: {error}; install what reads this address, as s3fs or gcsfs"
        ) from error
    return filesystem, path
