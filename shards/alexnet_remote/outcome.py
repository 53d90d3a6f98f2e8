"""What may become of a remote file: there, missing, denied, local trouble, or trouble that another try may mend."""

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from urllib.error import URLError
from zlib import error as ZlibError

from alexnet_remote.checksums import Checksums
from alexnet_shards.errors import FileError
from alexnet_shards.shown import public_address

LOCAL_ERRORS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}
LIBRARY_ERRORS = {
    "aiohttp": ("ClientError",),
    "botocore.exceptions": ("BotoCoreError", "ClientError"),
    "gcsfs.retry": ("HttpError", "ChecksumError", "NonRetryableError"),
    "google.api_core.exceptions": ("GoogleAPIError",),
    "google.auth.exceptions": ("GoogleAuthError",),
    "azure.core.exceptions": ("AzureError",),
}
HIDING_STORES = ("s3://", "s3a://", "gs://", "gcs://")
HIDDEN = "as this store also answers for what is not there"


class LocalTroubleError(FileError):
    """This machine is in the way: a full or read-only disk, too many open files, a copy that keeps changing."""


class TransportError(Exception):
    """Why a try gave no file; the text is the cause alone, without the address."""


class MissingError(TransportError):
    """The store says that the file is not there; `hidden` where it may also be forbidden."""

    def __init__(self, cause: str, hidden: bool = False) -> None:
        super().__init__(cause)
        self.hidden = hidden


class DeniedError(TransportError):
    """The store does not give the file to this user."""


class LocalError(TransportError):
    """This machine or process has run out of something."""


class TooMuchError(TransportError):
    """More bytes than any such file has."""


class TroubleError(TransportError):
    """Anything that another try may mend, after `wait_seconds` at least."""

    def __init__(self, cause: str, wait_seconds: float = 0) -> None:
        super().__init__(cause)
        self.wait_seconds = wait_seconds


@dataclass(frozen=True, kw_only=True)
class Head:
    """What an answer says of itself: bytes of the whole file if known, where its bytes begin, its version and kind.

    `version` is "" where a broken answer cannot be gone on with; `checksums` are of the whole file, where the store keeps
    any.
    """

    size: int | None
    start: int
    version: str
    kind: str = ""
    checksums: Checksums = ()


@contextmanager
def named_errors(url: str) -> Iterator[None]:
    """Everything that a library of the network raises becomes one of the outcomes."""
    try:
        yield
    except library_errors() as error:
        raise _outcome_of(url, error) from error


def _outcome_of(url: str, error: BaseException) -> TransportError:
    reason = error.reason if isinstance(error, URLError) else error
    cause = public_address(f"{type(reason).__name__}: {reason}".splitlines()[0])
    if isinstance(reason, FileNotFoundError):
        return MissingError(cause)
    if isinstance(reason, PermissionError) or _is_denied_by_google(reason):
        return MissingError(f"{cause}, {HIDDEN}", hidden=True) if url.startswith(HIDING_STORES) else DeniedError(cause)
    if "Credential" in type(reason).__name__:
        return DeniedError(cause)
    if isinstance(reason, MemoryError) or (isinstance(reason, OSError) and reason.errno in LOCAL_ERRORS):
        return LocalError(cause)
    return TroubleError(cause)


def _is_denied_by_google(error: BaseException | str) -> bool:
    """Whether it is gcsfs's error for an answer 401 or 403, which has no class of its own."""
    return str(getattr(error, "code", "")) in ("401", "403") or str(error).startswith("Forbidden: ")


def library_errors() -> tuple[type[Exception], ...]:
    """What a network raises on a bad day, by the libraries that are in use."""
    errors: list[type[Exception]] = [OSError, EOFError, MemoryError, HTTPException, ZlibError, ValueError]
    for module, names in LIBRARY_ERRORS.items():
        found = sys.modules.get(module)
        errors += [getattr(found, name) for name in names if hasattr(found, name)]
    return tuple(errors)
