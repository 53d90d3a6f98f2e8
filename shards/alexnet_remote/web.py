"""One try at a file of a web server, by the standard library: its head, and its bytes from a place on.

With fsspec's own client every failure of a web server looks like a missing file.
"""

import base64
import fnmatch
import html.parser
import http.client
import re
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import Any

from alexnet_remote.checksums import of_headers
from alexnet_remote.outcome import (
    HIDDEN,
    DeniedError,
    Head,
    MissingError,
    TransportError,
    TroubleError,
    named_errors,
)
from alexnet_shards.address import WEB, Address
from alexnet_shards.shown import public_address

PIECE_BYTES = 1 << 20
ERROR_BODY_BYTES = 4096
PAGE = "text/html"  # of which a size says nothing: it may be shown to whoever must sign in
LISTING_BYTES = 64 << 20
UNQUOTED = " !$&'()*+,;=:@[]{}<>~^|`\"\\"  # in names as they are shown and compared; quoted when they are asked for
MISSING, DENIED = (404, 410), (401, 403, 407)
# Object stores answer 403 for what is not there to whoever may not list; they are known by their headers.
STORE_HEADERS = ("x-amz-", "x-goog-", "x-guploader", "x-ms-")


def web_answer(
    url: str, start: int, version: str | None, timeout_seconds: float, end: int | None = None
) -> Iterator[Head | bytes]:
    """The head of the file at `url`, then its bytes: from `start` on if it is still `version`, else from 0, to `end`.

    `version` None is any; where it is "" the file is sent from 0.
    `timeout_seconds` is for a connection and for each wait for bytes. Raises the outcomes.
    """
    last = "" if end is None else end - 1
    headers = {"Range": f"bytes={start}-{last}"} if (start or end is not None) and version != "" else {}
    if headers and version:
        headers["If-Range"] = version
    with closing(_request(url, "GET", headers, timeout_seconds)) as response:
        head = _head_of(response)
        if response.status == 206 and head.start != start:
            raise TroubleError(f"bytes from {head.start} on instead of {start}")
        yield head
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        pieces = _raw_pieces(response)
        if encoding in ("gzip", "x-gzip", "deflate"):
            pieces = _inflated(pieces)
        elif encoding not in ("identity", ""):
            raise TroubleError(f"an answer encoded by {encoding!r}, which was not asked for")
        yield from pieces


def web_head(url: str, timeout_seconds: float) -> Head:
    """What the server says of the file at `url`; `size` None where it does not tell or shows a page. Raises the outcomes."""
    # Not every server knows HEAD, and a signature for GET is none for it.
    with (
        suppress(MissingError, DeniedError, TroubleError),
        closing(_request(url, "HEAD", {}, timeout_seconds)) as response,
    ):
        head = _head_of(response)
        if head.size is not None and head.kind != PAGE:
            return head
    with closing(_request(url, "GET", {"Range": "bytes=0-0"}, timeout_seconds)) as response:
        head = _head_of(response)
        return replace(head, start=0, size=head.size if head.kind != PAGE else None)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Redirects to the web alone, with the method that was asked for."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if not newurl.startswith(WEB):
            raise TroubleError(f"{code}, sent on to {public_address(newurl)}, which is no web address")
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None:
            request.method = req.get_method()
            password = req.unredirected_hdrs.get("Authorization")
            if password is not None and _server_of(newurl) == _server_of(req.full_url):
                request.add_unredirected_header("Authorization", password)
        return request


def _server_of(url: str) -> tuple[str, str]:
    """The scheme and the host with its port of an address."""
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.netloc.rpartition("@")[2].lower()


def _request(url: str, method: str, headers: dict[str, str], timeout_seconds: float) -> http.client.HTTPResponse:
    """The answer to one request, its body unread; raises the four outcomes."""
    with named_errors(url):
        parts = urllib.parse.urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        quoted = urllib.parse.urlunsplit((parts.scheme, host, _quoted(parts.path), _quoted(parts.query), ""))
        request = urllib.request.Request(quoted, headers={"Accept-Encoding": "identity", **headers}, method=method)
        request.add_header("User-Agent", "alexnet-replication")
        if parts.username is not None:
            pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
            # Not for another server that a redirect leads to.
            request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}")
        opener = urllib.request.build_opener(_Redirects)
        try:
            response: http.client.HTTPResponse = opener.open(request, timeout=timeout_seconds)
        except urllib.error.HTTPError as error:
            raise _of_status(error) from error
        return response


def _quoted(text: str) -> str:
    """Quoted as it must be on its way, with the escapes that are there already."""
    return urllib.parse.quote(re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", text), safe="/%:@!$&'()*+,;=~?-._")


def _head_of(response: http.client.HTTPResponse) -> Head:
    headers = response.headers
    encoded = headers.get("Content-Encoding", "identity").strip().lower() not in ("identity", "")
    start, size = 0, _number(headers.get("Content-Length"))
    if response.status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", "").strip())
        if match is None:
            raise TroubleError(f"206 with Content-Range {headers.get('Content-Range')!r}")
        start, size = int(match[1]), _number(match[2])
    tag, lowered = headers.get("ETag", ""), {name.lower(): value for name, value in headers.items()}
    version = "" if tag.startswith("W/") else tag or headers.get("Last-Modified", "")
    return Head(
        size=None if encoded else size,
        start=start,
        version="" if encoded else version,
        kind=headers.get_content_type() if "Content-Type" in headers else "",
        checksums=() if encoded else of_headers(lowered, response.status == 200),
    )


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 19 else None


def _raw_pieces(response: http.client.HTTPResponse) -> Iterator[bytes]:
    expected, size = _number(response.headers.get("Content-Length")), 0
    with named_errors(""):
        while piece := response.read1(PIECE_BYTES):
            size += len(piece)
            yield piece
    if expected is not None and size < expected:
        raise TroubleError(f"the answer broke off after {size} of {expected} bytes")


def _inflated(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The bytes that were deflated, never more than a piece at a time, however well they were."""
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
    with named_errors(""):
        for piece in pieces:
            rest = piece
            while rest:
                if inflate.eof:
                    inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
                if content := inflate.decompress(rest, PIECE_BYTES):
                    yield content
                rest = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
    if not inflate.eof:
        raise TroubleError("the encoded answer broke off")


def _of_status(error: urllib.error.HTTPError) -> TransportError:
    """What an http status means."""
    with closing(error):
        cause, body = f"{error.code} {error.reason}".strip(), b""
        with suppress(OSError, http.client.HTTPException):
            body = error.read(ERROR_BODY_BYTES)
    if (code := re.search(rb"<Code>(\w{1,60})</Code>", body)) is not None:
        cause = f"{cause} ({code[1].decode('ascii', 'replace')})"
    headers: Message = error.headers
    wait_seconds = _retry_after(headers.get("Retry-After"))
    if error.code in MISSING:
        return MissingError(cause)
    if error.code in DENIED and wait_seconds == 0:
        by_store = any(name.lower().startswith(STORE_HEADERS) for name in headers)
        if error.code == 403 and (by_store or code is not None) and b"xpired" not in body:
            return MissingError(f"{cause}, {HIDDEN}", hidden=True)
        return DeniedError(cause)
    return TroubleError(cause, wait_seconds)


def _retry_after(value: str | None) -> float:
    """Seconds that a store asks to be left alone, 0 where it does not say."""
    if value is None:
        return 0
    if (seconds := _number(value.strip())) is not None:
        return float(seconds)
    with suppress(ValueError, TypeError):
        moment = parsedate_to_datetime(value)
        return max(0.0, moment.timestamp() - time.time())
    return 0


def web_listing(url: str, timeout_seconds: float) -> list[str]:
    """Addresses whose last part matches that of the glob `url`, of those that its folder's page links to, sorted."""
    address = Address.parse(url)
    page = b""
    for item in web_answer(f"{address.folder}/{address.query}", 0, "", timeout_seconds):
        page += item if isinstance(item, bytes) else b""
        if len(page) > LISTING_BYTES:
            raise TroubleError(f"a listing of more than {LISTING_BYTES:,} bytes")
    links = _Links()
    links.feed(page.decode("utf-8", "replace"))
    names = {urllib.parse.unquote(urllib.parse.urlsplit(link).path.rpartition("/")[2]) for link in links.found}
    # A link may lead elsewhere; what is listed under a name of this folder is asked for in this folder.
    chosen = sorted(name for name in names if fnmatch.fnmatchcase(name, urllib.parse.unquote(address.name)))
    return [replace(address, name=urllib.parse.quote(name, safe=UNQUOTED)).url for name in chosen]


class _Links(html.parser.HTMLParser):
    """The links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if tag == "a" and name == "href" and value]
