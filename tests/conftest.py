"""Fixtures every room's tests share: drawn photos, shards and runs of them, Caffe files, a failing web server."""

import contextlib
import dataclasses
import fnmatch
import gzip
import io
import os
import re
import secrets
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt
import pytest
import simplejpeg
from PIL import Image

from alexnet_shards.index import save_index
from alexnet_shards.manifest import ClassFact, Manifest, index_path, manifest_path, save_manifest, shard_name
from alexnet_shards.scan import scan_shards
from alexnet_shards.shardset import open_shards
from alexnet_shards.stats import Stats, save_stats

NUM_CLASSES = 7


def pytest_configure() -> None:
    """A shell has SIGINT ignored by what it runs in the background; what the tests start would inherit that."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def open_files(tmp_path: Path) -> Callable[[], int]:
    """Counts this process's descriptors of files below `tmp_path`: what earlier tests left open does not matter."""

    def count() -> int:
        links = []
        for entry in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # the listing's own
                links.append(str(entry.readlink()))
        return sum(link.startswith(f"{tmp_path}/") for link in links)

    return count


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real test data (`ilsvrc2010/`, `tiny10.tar`) that ALEXNET_TEST_DATA names."""
    name = os.environ.get("ALEXNET_TEST_DATA")
    if not name:
        pytest.skip("ALEXNET_TEST_DATA is not set: it names the folder with ilsvrc2010/ and tiny10.tar")
    return Path(name).resolve()


@pytest.fixture
def mount_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mount a file system of so many bytes, gone after the test."""
    disk = tmp_path / "disk"

    def mount(size_bytes: int) -> Path:
        disk.mkdir()
        options = ["-t", "tmpfs", "-o", f"size={size_bytes}"]
        if subprocess.run(["mount", *options, "tmpfs", disk], capture_output=True, check=False).returncode:
            pytest.skip("a small file system can be mounted by root only")
        return disk

    yield mount
    if disk.is_mount():
        subprocess.run(["umount", "-l", disk], check=True)


def write_tar(path: Path, members: Sequence[tuple[str, bytes]]) -> None:
    """A tar as the standard library writes it."""
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def write_index(directory: Path, split: str, num_classes: int = NUM_CLASSES) -> None:
    """Index and manifest of the shards of `split` in `directory`."""
    scanned = scan_shards(sorted(directory.glob(f"{split}-*.tar")))
    sha256 = save_index(index_path(directory, split), scanned.rows)
    classes = tuple(ClassFact(wnid=f"n{label:08d}") for label in range(num_classes))
    save_manifest(
        manifest_path(directory, split),
        Manifest(split=split, classes=classes, shards=scanned.facts, index_sha256=sha256),
    )


@dataclass(frozen=True)
class ShardWriter:
    """Writes shards whose photos are `jpeg_of` their number: drawn, or random bytes where nobody decodes them."""

    jpeg_of: Callable[[int], bytes]

    def __call__(
        self, directory: Path, sizes: Sequence[int] = (7, 5, 9), split: str = "train", num_classes: int = NUM_CLASSES
    ) -> str:
        """Write shards of `sizes` samples with index and manifest to a directory; returns their pattern."""
        directory.mkdir(exist_ok=True)
        seed = 0
        for number, size in enumerate(sizes):
            members = []
            for _ in range(size):
                members.append((f"{split}{seed:04d}.jpg", self.jpeg_of(seed)))
                members.append((f"{split}{seed:04d}.cls", str(seed % num_classes).encode()))
                seed += 1
            write_tar(directory / shard_name(split, number, len(sizes)), members)
        write_index(directory, split, num_classes)
        return f"{directory}/{split}-*.tar"


@pytest.fixture(scope="session")
def shard_tools() -> SimpleNamespace:
    """What each room's `make_shards` is made of, and its parts, for shards that must be odd."""
    return SimpleNamespace(ShardWriter=ShardWriter, write_tar=write_tar, write_index=write_index)


def draw_image(seed: int, height_px: int = 256, width_px: int = 256) -> npt.NDArray[np.uint8]:
    """(height_px, width_px, 3) uint8 blocks of random colours: no two seeds and no two crops look alike."""
    blocks = np.random.default_rng(seed).integers(0, 256, (height_px // 8 + 1, width_px // 8 + 1, 3), np.uint8)
    return np.ascontiguousarray(np.kron(blocks, np.ones((8, 8, 1), np.uint8))[:height_px, :width_px])


def encode(image_hwc: npt.NDArray[np.uint8]) -> bytes:
    """The JPEG of an image."""
    jpeg: bytes = simplejpeg.encode_jpeg(image_hwc, 92)
    return jpeg


@pytest.fixture(scope="session")
def make_shards(shard_tools: SimpleNamespace) -> Callable[..., str]:
    """Write shards of drawn photos."""
    writer: Callable[..., str] = shard_tools.ShardWriter(lambda seed: encode(draw_image(seed)))
    return writer


@pytest.fixture(scope="session")
def draw_tools() -> SimpleNamespace:
    """What photos are made with, for tests that need odd ones."""
    return SimpleNamespace(draw_image=draw_image, encode=encode)


@pytest.fixture(scope="session")
def make_run(make_shards: Callable[..., str]) -> Callable[..., str]:
    """Training and validation shards with statistics beside them; returns the training pattern."""

    def make(directory: Path, sizes: Sequence[int] = (9, 8), val_sizes: Sequence[int] = (7, 4)) -> str:
        pattern = make_shards(directory, sizes)
        if val_sizes:
            make_shards(directory, val_sizes, "val")
        shards = open_shards([pattern])
        # Not these images' own: any numbers serve where only their use is tested.
        stats = Stats(
            mean_image_hwc=np.random.default_rng(0).uniform(90, 140, (256, 256, 3)).astype(np.float32),
            rgb_mean=np.array([127.0, 119.0, 105.0]),
            covariance=np.diag([5500.0, 5200.0, 5900.0]),
            eigenvalues=np.array([14800.0, 1380.0, 390.0]),
            eigenvectors=np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0],
            images=shards.num_samples,
            fingerprint=shards.fingerprint,
        )
        save_stats(directory / "stats.npz", stats)
        return pattern

    return make


def varint(number: int) -> bytes:
    head, rest = number & 0x7F, number >> 7
    return bytes([head | 0x80]) + varint(rest) if rest else bytes([head])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def number_field(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def write_caffemodel(
    layers: Mapping[str, Any], *, old: bool, doubles: bool = False, stages: Sequence[str] = ()
) -> bytes:
    """NetParameter with a data layer without blobs in front; `stages` ("ReLU", "LRN", "Pooling") follow conv1 and conv2."""
    layer_field, name_field, blobs_field = (2, 4, 6) if old else (100, 1, 7)
    net = field(1, b"AlexNet") + field(layer_field, field(name_field, b"data"))
    for name, blobs in layers.items():
        layer = field(name_field, name.encode()) + number_field(5 if old else 10, 1)
        for blob in blobs:
            if old:
                shape = (1,) * (4 - blob.ndim) + blob.shape
                message = b"".join(number_field(place, size) for place, size in enumerate(shape, 1))
            else:
                message = field(7, field(1, b"".join(varint(size) for size in blob.shape)))
            message += field(8, blob.astype("<f8").tobytes()) if doubles else field(5, blob.astype("<f4").tobytes())
            layer += field(blobs_field, message)
        net += field(layer_field, layer)
        for stage in stages if name in ("conv1", "conv2") else ():
            kind = number_field(5, {"ReLU": 18, "LRN": 15, "Pooling": 17}[stage]) if old else field(2, stage.encode())
            net += field(layer_field, field(name_field, f"{name}_{stage}".encode()) + kind)
    return net


@pytest.fixture(scope="session")
def caffemodel() -> Callable[..., bytes]:
    """Write layers of blobs as Caffe does, in its `old` form or the new one."""
    return write_caffemodel


def photo_bytes(seed: int, width_px: int = 300, height_px: int = 280, **save: Any) -> bytes:
    """A JPEG of smooth random colours."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 7, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    coarse.resize((width_px, height_px), Image.Resampling.BICUBIC).save(buffer, "JPEG", **{"quality": 90, **save})
    return buffer.getvalue()


@pytest.fixture(name="photo_bytes", scope="session")
def photo_bytes_fixture() -> Callable[..., bytes]:
    """`photo_bytes`: a JPEG of smooth random colours."""
    return photo_bytes


BOMB = gzip.compress(b" " * (1 << 26), 9)
SIGN_IN = b"<!doctype html><html><body>Sign in to go on</body></html>"


@dataclass
class Fault:
    """What GETs of names that match `names` meet, `times` times: a status as text, or one of the kinds in `answer`."""

    names: str
    kind: str
    times: int = 1 << 30
    headers: dict[str, str] = dataclasses.field(default_factory=dict)


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


class FaultProxy:
    """Passes connections on to a server at `port`; requests whose line matches a pattern of `faults` meet theirs first.

    Kinds: a status as text; "reset" and "cut" (the answer's body ends after half of it, or after `after` bytes); "slow"
    (a fifth of a second between pieces). Each connection carries one request.
    """

    def __init__(self, port: int) -> None:
        self._target, self.requests, self.faults = port, list[str](), list[Fault]()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def fail(self, lines: str, kind: str, times: int = 1 << 30) -> None:
        self.faults.append(Fault(lines, kind, times))

    def count(self, lines: str) -> int:
        return sum(fnmatch.fnmatchcase(line, lines) for line in self.requests)

    def close(self) -> None:
        self._socket.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._answer, args=(self._socket.accept()[0],), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), client:
            head = b""
            while b"\r\n\r\n" not in head:
                if not (piece := client.recv(65536)):
                    return
                head += piece
            line, _, rest = head.partition(b"\r\n")
            text = line.decode().rpartition(" ")[0]
            self.requests.append(text)
            fault = next((f for f in self.faults if fnmatch.fnmatchcase(text, f.names) and f.times > 0), Fault("", ""))
            fault.times -= 1
            if fault.kind.isdigit():
                code = b"AccessDenied" if fault.kind == "403" else b"SlowDown"
                body = b"<Error><Code>%s</Code><Message>No.</Message></Error>" % code
                client.sendall(f"HTTP/1.1 {fault.kind} No\r\nContent-Length: {len(body)}\r\n".encode())
                body = b"" if text.startswith("HEAD ") else body
                client.sendall(b"Content-Type: application/xml\r\nConnection: close\r\n\r\n" + body)
                return
            with socket.create_connection(("127.0.0.1", self._target)) as server:
                server.sendall(line + b"\r\nConnection: close\r\n" + re.sub(rb"(?i)connection:[^\r]*\r\n", b"", rest))
                threading.Thread(target=self._pass_on, args=(client, server), daemon=True).start()
                self._pass_back(client, server, fault.kind)

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := client.recv(65536):
                server.sendall(piece)

    def _pass_back(self, client: socket.socket, server: socket.socket, kind: str) -> None:
        sent, limit = 0, 1 << 60
        while piece := server.recv(65536):
            if kind in ("cut", "reset") and sent == 0 and (found := re.search(rb"(?i)content-length: (\d+)", piece)):
                limit = piece.index(b"\r\n\r\n") + 4 + int(found[1]) // 2
            client.sendall(piece[: limit - sent])
            sent += len(piece)
            if sent >= limit:
                if kind == "reset":
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.shutdown(socket.SHUT_RD if kind == "reset" else socket.SHUT_RDWR)  # or its other thread holds it
                return
            if kind == "slow":
                time.sleep(0.2)


@dataclass(frozen=True)
class ObjectStore:
    """A bucket of its own on a server, through a proxy that fails on purpose; the environment names both."""

    files: Any
    bucket: str
    proxy: FaultProxy
    protocol: str

    @property
    def url(self) -> str:
        return f"{self.protocol}://{self.bucket}"


@contextmanager
def server_of(*program: str) -> Iterator[int]:
    """The port of a server on localhost, a Python program that takes it as its last argument."""
    with keeping_a_port() as port:
        server = subprocess.Popen(
            [sys.executable, *program, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 120
        try:
            while True:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                if time.monotonic() > deadline or server.poll() is not None:
                    raise TimeoutError(port)
                time.sleep(0.05)
            yield port
        finally:
            server.kill()
            server.wait()


@contextmanager
def keeping_a_port() -> Iterator[int]:
    """A port that a server of SO_REUSEADDR can listen at, and nobody is given who asks for any, as a client's own end."""
    with socket.socket() as kept:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(("127.0.0.1", 0))
        yield kept.getsockname()[1]


@pytest.fixture
def kept_port() -> Iterator[int]:
    """A port of localhost where nothing listens, and that stays free for a server that a test starts."""
    with keeping_a_port() as port:
        yield port


@pytest.fixture(scope="session")
def s3_port() -> Iterator[int]:
    """The port of a server that speaks S3's protocol (moto)."""
    with server_of("-m", "moto.server", "-H", "127.0.0.1", "-p") as port:
        yield port


@pytest.fixture
def s3(s3_port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """An empty bucket."""
    import s3fs

    proxy = FaultProxy(s3_port)
    settings = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in {**settings, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.port}"}.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    store = ObjectStore(s3fs.S3FileSystem(use_listings_cache=False), f"bucket-{secrets.token_hex(6)}", proxy, "s3")
    store.files.mkdir(store.bucket)
    yield store
    s3fs.S3FileSystem.clear_instance_cache()
    proxy.close()


# gcp-storage-emulator heeds no conditions: what Google's documentation says of ifGenerationMatch is put before it.
GOOGLE_SERVER = """
import sys, time
from http import HTTPStatus
from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.handlers import objects
def under_condition(handle):
    def handled(request, response, storage, *rest, **words):
        wanted = request.query.get("ifGenerationMatch")
        if wanted:
            data = request.data if "name" not in request.query and "object_id" not in request.params else {}
            name = request.query.get("name", [None])[0] or request.params.get("object_id") or data["meta"]["name"]
            try:
                found = storage.get_file_obj(request.params["bucket_name"], name)["generation"]
            except NotFound:
                found = "0"
            if found != wanted[0]:
                request.data
                response.status = HTTPStatus.PRECONDITION_FAILED
                return
        return handle(request, response, storage, *rest, **words)
    return handled
objects.insert, objects.delete = under_condition(objects.insert), under_condition(objects.delete)
from gcp_storage_emulator.server import create_server
create_server("127.0.0.1", int(sys.argv[1]), in_memory=True).run()
"""


@pytest.fixture(scope="session")
def gcs_port() -> Iterator[int]:
    """The port of a server that speaks the protocol of Google's store."""
    pytest.importorskip("gcp_storage_emulator")
    with server_of("-c", GOOGLE_SERVER) as port:
        yield port


@pytest.fixture
def gcs(gcs_port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """An empty bucket of Google's store, open to all: there are no keys here."""
    gcsfs = pytest.importorskip("gcsfs")
    proxy = FaultProxy(gcs_port)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    gcsfs.GCSFileSystem.clear_instance_cache()
    files = gcsfs.core.GCSFileSystem(token="anon", use_listings_cache=False)
    store = ObjectStore(files, f"bucket-{secrets.token_hex(6)}", proxy, "gs")
    store.files.mkdir(store.bucket)
    yield store
    gcsfs.GCSFileSystem.clear_instance_cache()
    gcsfs.core.GCSFileSystem.clear_instance_cache()
    proxy.close()


@pytest.fixture
def plain_server() -> Iterator[Callable[[Path], FaultProxy]]:
    """Start `python -m http.server`, which knows no ranges, in a folder, behind a proxy that fails on purpose."""
    with contextlib.ExitStack() as stack:

        def start(folder: Path) -> FaultProxy:
            program = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
            server = stack.enter_context(
                subprocess.Popen(program, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            )
            stack.callback(server.kill)
            assert server.stdout is not None
            found = re.search(rb"port (\d+)", server.stdout.readline())
            assert found is not None
            proxy = FaultProxy(int(found[1]))
            stack.callback(proxy.close)
            return proxy

        yield start


@dataclass
class Seen:
    """What a browser made of a page: its messages, errors and requests, and the page itself while it is open."""

    page: Any
    messages: list[str]
    requests: list[str]

    def text(self, selector: str) -> list[str]:
        """The text of every element that a CSS selector finds."""
        texts: list[str] = self.page.locator(selector).all_inner_texts()
        return texts


@contextmanager
def _opened(
    address: str, width_px: int = 1280, scheme: Literal["light", "dark"] = "light", wait: str = ""
) -> Iterator[Seen]:
    """The page at `address`, loaded; `wait` is an expression that becomes true. Skips where there is no Chromium."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install '.[dev]'")
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": width_px, "height": 900}, color_scheme=scheme)
        seen = Seen(page=context.new_page(), messages=[], requests=[])
        seen.page.on("console", lambda message: seen.messages.append(f"{message.type}: {message.text}"))
        seen.page.on("pageerror", lambda error: seen.messages.append(f"error: {error}"))
        seen.page.on("request", lambda request: seen.requests.append(request.url))
        try:
            seen.page.goto(address)
            if wait:
                seen.page.wait_for_function(wait, timeout=60_000)
            yield seen
        finally:
            browser.close()


def _check_self_contained(seen: Seen, path: Path) -> None:
    """No message, no request but for the file itself, nothing wider than the screen, a text for each picture."""
    assert seen.messages == []
    assert [url for url in seen.requests if not url.startswith("data:")] == [path.as_uri()]
    wide, screen = seen.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide <= screen
    assert seen.page.locator("img:not([alt]), img[alt='']").count() == 0
    assert seen.page.locator(".chart:not([aria-label])").count() == 0


@pytest.fixture(scope="session")
def browser() -> SimpleNamespace:
    """`opened(address, width_px, scheme, wait)`: a page in Debian's Chromium; `check_self_contained(seen, path)`."""
    return SimpleNamespace(opened=_opened, check_self_contained=_check_self_contained)
