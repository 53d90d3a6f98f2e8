"""A run's page over HTTP while it trains: read only, for this machine unless asked otherwise, and no harm to the run.

Served are the pages and lists that lie in the run's directory itself, by plain names: nothing below it, no links, no
checkpoints. Whoever asks under another host's name (DNS rebinding) or from another site's page is refused.
"""

import hmac
import html
import ipaddress
import os
import re
import secrets
import socket
import socketserver
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from alexnet_command.printing import say
from alexnet_shards import AlexnetError

PAGE_NAME, METRICS_NAME = "report.html", "metrics.jsonl"
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".jsonl": "text/plain; charset=utf-8",
    ".toml": "text/plain; charset=utf-8",
    ".csv": "text/plain; charset=utf-8",
}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)+")
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
MAX_CONNECTIONS = 16
PATIENCE_SECONDS = 10
TAIL_BYTES = 1 << 14
STEP = re.compile(rb'"step": (\d+)')


@dataclass(frozen=True, kw_only=True)
class Served:
    """What is served: a run's directory under `host`; `token` stands in front of every path, "" on this machine alone."""

    directory: Path
    host: str
    token: str

    def knows(self, host: str) -> bool:
        """Whether a Host header names this machine: a name of somebody else's that leads here does not."""
        name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
        name = name.strip("[]").lower()
        if name in ("localhost", "127.0.0.1", "::1", self.host.lower()):
            return True
        if not self.token:
            return False
        with suppress(ValueError):
            return bool(ipaddress.ip_address(name))
        return name == socket.gethostname().lower()

    def name_of(self, path: str) -> str | None:
        """The file that a path as it was sent asks for, None for none of ours; nothing is decoded in it."""
        if not path.startswith("/"):
            return None
        parts = path.partition("?")[0].split("/")[1:]
        if self.token:
            if not hmac.compare_digest(parts[0].encode(), self.token.encode()):
                return None
            parts = parts[1:]
        name = parts[0] if len(parts) == 1 and parts[0] else PAGE_NAME if parts in ([], [""]) else ""
        return name if NAME.fullmatch(name) and Path(name).suffix in KINDS else None

    def content(self, name: str) -> tuple[Any, int] | None:
        """The open file of that name and its bytes; None where there is none, or a link, or no file."""
        try:
            folder = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:  # a run that has not begun has none yet
            return None
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            file = os.fdopen(os.open(name, flags, dir_fd=folder), "rb")
        except OSError:
            return None
        finally:
            os.close(folder)
        found = os.fstat(file.fileno())
        if stat.S_ISREG(found.st_mode):
            return file, found.st_size
        file.close()
        return None

    def last_word(self) -> str:
        """When the run last spoke, and its step then."""
        opened = self.content(METRICS_NAME)
        if opened is None:
            return "The run has not spoken yet"
        file, size = opened
        with file:
            spoken = os.fstat(file.fileno()).st_mtime
            file.seek(max(0, size - TAIL_BYTES))
            steps = STEP.findall(file.read(TAIL_BYTES))
        when = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(spoken))
        ago = max(0, round(time.time() - spoken))
        return f"The run last spoke {when}, {ago:,} s ago" + (f", at step {int(steps[-1]):,}" if steps else "")


class _Handler(BaseHTTPRequestHandler):
    timeout = PATIENCE_SECONDS

    def __init__(self, served: Served, *arguments: Any) -> None:
        self._served = served
        super().__init__(*arguments)

    def do_GET(self) -> None:
        """A file, or the page."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """The same without its body."""
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        refusal = self._refusal()
        name = self._served.name_of(self.path)
        if refusal:
            self._send(HTTPStatus.FORBIDDEN, f"{refusal}\n".encode(), "text/plain", with_body=with_body)
        elif name == PAGE_NAME:
            self._send(HTTPStatus.OK, self._page(), KINDS[".html"], with_body=with_body)
        else:
            self._file(name, with_body=with_body)

    def _refusal(self) -> str:
        """Why this request is not answered, "" where it is."""
        hosts, origin = self.headers.get_all("Host") or [], self.headers.get("Origin")
        if len(hosts) != 1 or not self._served.knows(hosts[0]):
            return "another host's name"
        if origin is not None and origin != f"http://{hosts[0]}":
            return "another origin"
        site, mode = (self.headers.get(f"Sec-Fetch-{what}", "") for what in ("Site", "Mode"))
        if site in ("cross-site", "same-site") and mode != "navigate":
            return "another site"
        return ""

    def _page(self) -> bytes:
        word = html.escape(f"{self._served.last_word()}; a refresh shows the newest.")
        opened = self._served.content(PAGE_NAME)
        if opened is None:
            return (
                f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Run</title><meta name="color-scheme" '
                f'content="light dark"><h1>No page yet</h1><p>It is drawn after the first epoch.</p><p>{word}</p></html>'
            ).encode()
        with opened[0] as file:
            content: bytes = file.read()
        head, mark, rest = content.partition(b"</header>")
        return head + f'<p class="made" id="last-word">{word}</p>\n'.encode() + mark + rest if mark else content

    def _file(self, name: str | None, *, with_body: bool) -> None:
        opened = self._served.content(name) if name is not None else None
        if name is None or opened is None:
            self._send(HTTPStatus.NOT_FOUND, b"no such file\n", "text/plain", with_body=with_body)
            return
        file, size = opened
        with file:
            self._head(HTTPStatus.OK, size, KINDS[Path(name).suffix])
            if with_body:
                while size > 0 and (content := file.read(min(1 << 16, size))):  # no more: it may grow meanwhile
                    self.wfile.write(content)
                    size -= len(content)

    def _send(self, status: HTTPStatus, content: bytes, kind: str, *, with_body: bool) -> None:
        self._head(status, len(content), kind)
        if with_body:
            self.wfile.write(content)

    def _head(self, status: HTTPStatus, size: int, kind: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(size), **HEADERS}.items():
            self.send_header(name, value)
        self.end_headers()

    def version_string(self) -> str:
        """What the answers say of the server."""
        return "alexnet-train"

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: the screen is the run's."""


class _Server(ThreadingHTTPServer):
    """A thread a connection, MAX_CONNECTIONS at once; whatever fails in one ends that one."""

    daemon_threads = True

    def __init__(self, served: Served, port: int) -> None:
        self.address_family = socket.AF_INET6 if ":" in served.host else socket.AF_INET
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__((served.host, port), partial(_Handler, served))

    def server_bind(self) -> None:
        """Bind without asking anybody for this machine's name, as http.server would."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def get_request(self) -> tuple[socket.socket, Any]:
        """The next connection."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(0.1)  # as of no free descriptor: asked again at once, it would take a core
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, or not at all where too many are at it."""
        if self._free.acquire(blocking=False):
            try:
                super().process_request(request, client_address)
            except RuntimeError:  # no thread can be started
                self._free.release()
                self.shutdown_request(request)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer it, then make room."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: who asked has gone, or asked for nonsense."""


@contextmanager
def serving(directory: Path, port: int | None, host: str) -> Iterator[str | None]:
    """While in context: `directory` is served at the address that this yields and says; None for no port, and beside rank 0.

    Raises AlexnetError where the port is taken or the host is not this machine's.
    """
    if port is None or os.environ.get("RANK", "0") != "0":
        yield None
        return
    served = Served(directory=directory, host=host, token="" if _is_loopback(host) else secrets.token_urlsafe(16))
    try:
        server = _Server(served, port)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AlexnetError(
            f"--serve {port}: {host} port {port} cannot be served ({reason}); name another port, 0 for any that is free"
        ) from error
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{server.server_port}/{served.token}{'/' if served.token else ''}"
    threading.Thread(target=server.serve_forever, daemon=True, name="serve").start()
    say(f"the run's page, while it trains: {address}")
    try:
        yield address
    finally:
        server.shutdown()
        server.server_close()


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"
