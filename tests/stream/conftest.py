"""A web server that fails on purpose."""

import fnmatch
import gzip
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest

BOMB = gzip.compress(b" " * (1 << 26), 9)
SIGN_IN = b"<!doctype html><html><body>Sign in to go on</body></html>"


@dataclass
class Fault:
    """What GETs of names that match `names` meet, `times` times: a status as text, or one of the kinds in `answer`."""

    names: str
    kind: str
    times: int = 1 << 30
    headers: dict[str, str] = field(default_factory=dict)


class FaultServer:
    """Serves the files of a folder, with ranges and versions; `faults` come first, in their order."""

    def __init__(self, folder: Path, certificate: tuple[Path, Path] | None = None) -> None:
        self.folder, self.faults, self.ranges = folder, list[Fault](), True
        self.gets: list[tuple[str, str]] = []
        self.authorizations: list[str] = []
        self.listings: dict[str, bytes] = {}
        self.ended = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (FaultHandler,), {"store": self}))
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.server.daemon_threads = True
        self.scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
            self.scheme = "https"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server.server_port}"

    def fail(self, names: str, kind: str, times: int = 1 << 30, **headers: str) -> None:
        self.faults.append(
            Fault(names, kind, times, {name.replace("_", "-"): value for name, value in headers.items()})
        )

    def fault_of(self, name: str, method: str) -> Fault:
        for fault in self.faults:
            if fnmatch.fnmatchcase(name, fault.names) and fault.times > 0:
                if method == "GET":
                    fault.times -= 1
                return fault
        return Fault("", "")

    def num_gets(self, name: str) -> int:
        return sum(path == name for path, _ in self.gets)

    def close(self) -> None:
        self.ended.set()
        self.server.shutdown()
        self.server.server_close()


class FaultHandler(BaseHTTPRequestHandler):
    store: FaultServer

    def do_HEAD(self) -> None:
        self.answer("HEAD")

    def do_GET(self) -> None:
        self.answer("GET")

    def answer(self, method: str) -> None:
        name = unquote(self.path.partition("?")[0].lstrip("/"))
        if method == "GET":
            self.store.gets.append((name, self.headers.get("Range", "")))
            self.store.authorizations.append(self.headers.get("Authorization", ""))
        fault = self.store.fault_of(name, method)
        path = self.store.folder / name
        if fault.kind.isdigit():
            self.reply(int(fault.kind), b"no", fault.headers, method)
        elif name in self.store.listings:
            self.reply(200, self.store.listings[name], {"Content-Type": "text/html"}, method)
        elif not path.is_file():
            self.reply(404, b"no", {}, method)
        else:
            self.file(path.read_bytes(), fault, method)

    def file(self, content: bytes, fault: Fault, method: str) -> None:
        status, begin = 200, 0
        headers = {"ETag": '"1"', "Content-Type": "application/octet-stream"} | fault.headers
        asked = self.headers.get("Range", "")
        if self.store.ranges and asked and self.headers.get("If-Range", '"1"') == '"1"':
            first, _, last = asked.removeprefix("bytes=").partition("-")
            begin, end = int(first), int(last or len(content) - 1) + 1
            headers["Content-Range"] = f"bytes {begin}-{min(end, len(content)) - 1}/{len(content)}"
            status, content = 206, content[begin:end]
        if fault.kind == "sign-in":
            self.reply(200, SIGN_IN, {"Content-Type": "text/html; charset=utf-8"}, method)
        elif fault.kind == "long":
            self.reply(status, content + b"more" * 1000, headers, method)
        elif fault.kind == "wrong":
            self.reply(status, content[:-1] + bytes([content[-1] ^ 1]), headers, method)
        elif fault.kind == "short":  # a length that is right of bytes that are not all
            self.reply(status, content[: len(content) // 2], headers, method)
        elif fault.kind == "gzip":
            self.reply(200, gzip.compress(content), {"Content-Encoding": "gzip"}, method)
        elif fault.kind == "bomb":
            self.reply(200, BOMB, {"Content-Encoding": "gzip"}, method)
        elif fault.kind in ("cut", "stall", "slow", "endless"):
            self.trickle(status, content, headers, fault.kind, method)
        else:
            self.reply(status, content, headers, method)

    def reply(self, status: int, body: bytes, headers: dict[str, str], method: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if method == "GET":
            self.wfile.write(body)

    def trickle(self, status: int, body: bytes, headers: dict[str, str], kind: str, method: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if kind != "endless":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if method != "GET":
            return
        if kind == "endless":
            while not self.store.ended.is_set():
                self.wfile.write(b" " * (1 << 16))
        elif kind == "slow":
            for begin in range(0, len(body), len(body) // 8 + 1):
                self.wfile.write(body[begin : begin + len(body) // 8 + 1])
                time.sleep(0.3)
        else:
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            if kind == "stall":
                self.store.ended.wait(300)
        self.close_connection = True

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def fault_server(tmp_path: Path) -> Iterator[Callable[..., FaultServer]]:
    """Start a FaultServer of a folder, ended after the test."""
    servers = []

    def start(folder: Path = tmp_path, certificate: tuple[Path, Path] | None = None) -> FaultServer:
        servers.append(FaultServer(folder, certificate))
        return servers[-1]

    yield start
    for server in servers:
        server.close()
