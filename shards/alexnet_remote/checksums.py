"""The checksums that a store keeps of a whole file, and those of the bytes that came."""

import base64
import binascii
import hashlib
import re
import zlib
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

Checksums = tuple[tuple[str, str], ...]  # (algorithm, lower-case hex digits) of a whole file
ALGORITHMS = {"md5": 16, "sha1": 20, "sha256": 32, "crc32": 4, "crc32c": 4}  # digest bytes
MD5_TAG = re.compile(r'"?([0-9a-f]{32})"?')
STORE_HEADERS = ("x-amz-request-id", "x-amz-id-2")
# Under these keys of the store's own the tag of a file is no MD5.
OTHER_TAG = ("x-amz-server-side-encryption-customer-algorithm", "x-amz-server-side-encryption-aws-kms-key-id")


class Digest(Protocol):
    """What hashlib's objects are."""

    def update(self, content: bytes, /) -> None:
        """Take in the next bytes."""

    def hexdigest(self) -> str:
        """Of all so far."""


class Crc32:
    """zlib.crc32 as a digest."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, content: bytes, /) -> None:
        """Take in the next bytes."""
        self._value = zlib.crc32(content, self._value)

    def hexdigest(self) -> str:
        """Of all so far."""
        return f"{self._value:08x}"


class Crc32c:
    """Google's CRC-32C as a digest."""

    def __init__(self) -> None:
        library: Any = import_module("google_crc32c")  # gcsfs brings it
        self._checksum = library.Checksum()

    def update(self, content: bytes, /) -> None:
        """Take in the next bytes."""
        self._checksum.update(content)

    def hexdigest(self) -> str:
        """Of all so far."""
        return str(self._checksum.digest().hex())


class Running:
    """The checksums of bytes as they come: of `expected`, and a crc32 in any case."""

    def __init__(self, expected: Checksums = ()) -> None:
        self._expected = expected
        self._digests: dict[str, Digest] = {"crc32": Crc32()}
        for name, _ in expected:
            if name != "crc32":
                self._digests[name] = Crc32c() if name == "crc32c" else hashlib.new(name, usedforsecurity=False)

    def update(self, content: bytes) -> None:
        """Take in the next bytes."""
        for digest in self._digests.values():
            digest.update(content)

    @property
    def crc32(self) -> str:
        """Of all so far."""
        return self._digests["crc32"].hexdigest()

    def difference(self) -> str:
        """ "md5 12ab…, the store has 34cd…" for the first checksum that is another than expected, "" where all agree."""
        for name, value in self._expected:
            found = self._digests[name].hexdigest()
            if found != value:
                return f"{name} {found[:12]}, the store has {value[:12]}"
        return ""


def of_headers(headers: Mapping[str, str], whole: bool) -> Checksums:
    """The checksums in the headers of a web server's answer, names in lower case; `whole`: its body is the whole file."""
    found = {}
    if whole:
        found["md5"] = hex_of(headers.get("content-md5", ""), "md5")
    for entry in headers.get("x-goog-hash", "").split(","):
        name, _, value = entry.strip().partition("=")
        if name == "md5":
            found["md5"] = hex_of(value, "md5")
    if any(name in headers for name in STORE_HEADERS):
        found["md5"] = found.get("md5") or md5_of_tag(headers.get("etag", ""), headers)
        for name in ("sha256", "sha1", "crc32"):
            found[name] = hex_of(headers.get(f"x-amz-checksum-{name}", ""), name)
    return tuple((name, value) for name, value in found.items() if value)


def of_s3(answer: Mapping[str, object]) -> Checksums:
    """The checksums in S3's answer to HeadObject, asked for with ChecksumMode=ENABLED."""
    found = {name: hex_of(str(answer.get(f"Checksum{name.upper()}", "")), name) for name in ("sha256", "sha1", "crc32")}
    encryption = str(answer.get("ServerSideEncryption", ""))
    if not encryption.startswith("aws:kms") and not answer.get("SSECustomerAlgorithm"):
        match = MD5_TAG.fullmatch(str(answer.get("ETag", "")))
        found["md5"] = match[1] if match is not None else ""
    return tuple((name, value) for name, value in found.items() if value)


def of_info(info: Mapping[str, object]) -> Checksums:
    """The checksum in what fsspec says of a file of another store: Google's `md5Hash`, or its `crc32c` where an object was
    composed of others and has no other."""
    for name, key in (("md5", "md5Hash"), ("crc32c", "crc32c")):
        value = hex_of(str(info.get(key) or ""), name)
        if value and (name != "crc32c" or find_spec("google_crc32c")):
            return ((name, value),)
    return ()


def md5_of_tag(tag: str, headers: Mapping[str, str]) -> str:
    """The MD5 that the ETag of a file is which was uploaded in one part, "" for any other."""
    match = MD5_TAG.fullmatch(tag.strip())
    return match[1] if match is not None and not any(name in headers for name in OTHER_TAG) else ""


def hex_of(text: str, name: str) -> str:
    """Hex digits of a checksum in base64, "" where it is none of that algorithm, as that of the parts of a file."""
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return ""
    return content.hex() if len(content) == ALGORITHMS[name] else ""
