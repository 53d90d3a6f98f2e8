"""Local files put into a store whole: who reads there sees all of a file or none of it, whenever its writer is killed."""

import base64
import hashlib
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from alexnet_remote.outcome import DeniedError, Head, MissingError, TroubleError, named_errors
from alexnet_remote.pieces import RemotePieces
from alexnet_remote.stop import Stop
from alexnet_remote.store import GOOGLE, S3, filesystem_of, store_head
from alexnet_remote.tries import Patience, RemoteFileError, Tries, patiently, pulled
from alexnet_shards.address import WEB
from alexnet_shards.errors import file_error
from alexnet_shards.shown import public_address

T = TypeVar("T")
PART_BYTES = 64 << 20  # of uploads in parts, to S3; a file of less goes in one request
HASH_BYTES = 4 << 20
SLOWEST_BYTES_A_SECOND = 100_000  # an upload that takes longer hangs: libraries do not tell how far they are
AZURE = ("abfs://", "abfss://", "az://")


class ReadOnlyError(RemoteFileError):
    """An address that is read and not written."""


@dataclass(frozen=True, kw_only=True)
class LocalFacts:
    """What a local file is: its size, md5 and sha256, and the tag that S3 gives it when it comes in parts."""

    size: int
    md5: str
    sha256: str
    parts_tag: str


def local_facts(path: Path) -> LocalFacts:
    """Read a file and say what it is; raises FileError where it cannot be read."""
    md5, sha256, part, parts, size = _md5(), hashlib.sha256(), _md5(), list[bytes](), 0
    try:
        with path.open("rb") as file:
            while piece := file.read(HASH_BYTES):  # of which a part has a whole number
                size += len(piece)
                for digest in (md5, sha256, part):
                    digest.update(piece)
                if size % PART_BYTES == 0:
                    parts.append(part.digest())
                    part = _md5()
    except OSError as error:
        raise file_error(path, error, "read") from error
    if size % PART_BYTES:
        parts.append(part.digest())
    joined = hashlib.md5(b"".join(parts), usedforsecurity=False).hexdigest()
    return LocalFacts(size=size, md5=md5.hexdigest(), sha256=sha256.hexdigest(), parts_tag=f'"{joined}-{len(parts)}"')


def upload_file(path: Path, url: str, patience: Patience, stop: Stop) -> Head:
    """Put the file at `path` to `url`, over what is there, and compare what the store has; returns what it says of it.

    Raises as alexnet_remote.tries says, and ReadOnlyError for an address of a web server.
    """
    check_writable(url)
    facts = local_facts(path)
    tries = Tries(url=url, patience=patience, stop=stop, use="upload")
    slow = replace(patience, silence_seconds=max(patience.silence_seconds, facts.size / SLOWEST_BYTES_A_SECOND))

    def attempt() -> Head:
        apart(_put(path, url, facts), url, slow, stop)
        head = apart(lambda: store_head(url), url, patience, stop)
        _compare(url, facts, head, patience, stop)
        return head

    return patiently(tries, attempt)


def _put(path: Path, url: str, facts: LocalFacts) -> Callable[[], None]:
    """One try, to be run on a thread that may be left behind: it never shows a part of the file under its name."""

    def put() -> None:
        with write_errors(url):
            filesystem, place = filesystem_of(url)
            if url.startswith(S3):
                if facts.size < PART_BYTES:  # S3 itself refuses other bytes than these
                    checked: dict[str, Any] = {
                        "ContentMD5": base64.b64encode(bytes.fromhex(facts.md5)).decode(),
                        "chunksize": PART_BYTES,
                    }
                else:
                    checked = {"chunksize": PART_BYTES}
                filesystem.put_file(str(path), place, **checked)
            elif url.startswith((*GOOGLE, *AZURE)):
                filesystem.put_file(str(path), place)
            else:  # whoever reads meanwhile may see a file grow
                beside = f"{place}.{secrets.token_hex(8)}.tmp"
                try:
                    filesystem.makedirs(place.rpartition("/")[0], exist_ok=True)
                    filesystem.put_file(str(path), beside)
                    filesystem.mv(beside, place)
                except BaseException:
                    if filesystem.exists(beside):
                        filesystem.rm_file(beside)
                    raise

    return put


def remove_file(url: str, patience: Patience, stop: Stop) -> None:
    """Remove a file from a store, if it is there."""
    check_writable(url)

    def drop() -> None:
        with write_errors(url):
            filesystem, place = filesystem_of(url)
            filesystem.rm_file(place)

    def attempt() -> None:
        try:
            apart(drop, url, patience, stop)
        except MissingError:
            return

    patiently(Tries(url=url, patience=patience, stop=stop, use="remove"), attempt)


def check_writable(url: str) -> None:
    """Raise ReadOnlyError for an address that cannot be written."""
    if url.startswith(WEB):
        raise ReadOnlyError(
            f"{public_address(url)}: a web server is read only; write to a folder, s3:// or gs://, and publish that"
        )


@contextmanager
def write_errors(url: str) -> Iterator[None]:
    """As named_errors, of a write: what a store hides from readers is denied to writers."""
    try:
        with named_errors(url):
            yield
    except MissingError as error:
        if error.hidden:
            raise DeniedError(str(error)) from error
        raise


def _compare(url: str, facts: LocalFacts, head: Head, patience: Patience, stop: Stop) -> None:
    """Raise TroubleError where a store has other bytes than were put there; reads them back where it has no checksum."""
    if head.size != facts.size:
        raise TroubleError(f"{head.size} bytes after the upload of {facts.size}")
    known = dict(head.checksums)
    for name in ("md5", "sha256"):
        if name in known:
            if known[name] != getattr(facts, name):
                raise TroubleError(f"{name} {known[name][:12]} after the upload of {getattr(facts, name)[:12]}")
            return
    if head.version.startswith(facts.parts_tag):
        return
    digest = hashlib.sha256()
    for piece in RemotePieces(url, patience, stop):
        digest.update(piece)
    if digest.hexdigest() != facts.sha256:
        raise TroubleError(f"sha256 {digest.hexdigest()[:12]} after the upload of {facts.sha256[:12]}")


def apart(work: Callable[[], T], url: str, patience: Patience, stop: Stop) -> T:
    """The result of `work`, on a thread that is left behind when it takes too long or a stop is asked for."""

    def produce() -> Iterator[T]:
        yield work()

    return next(pulled(produce, url, patience, stop))


def _md5() -> Any:
    return hashlib.md5(usedforsecurity=False)
