"""One remote file against a server that fails on purpose: what is tried again, what is not, and what is said."""

import hashlib
import io
import logging
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alexnet_remote.outcome import LocalTroubleError
from alexnet_remote.remotefile import ShardSink, Sink, fetch, glob_of, size_of
from alexnet_remote.stop import Stop, StoppedError
from alexnet_remote.tries import Patience, RemoteFileDeniedError, RemoteFileMissingError, RemoteFileTroubleError
from alexnet_shards.errors import AlexnetError

CONTENT = np.random.default_rng(0).bytes(3_000_000)
PATIENCE = Patience(retries=3, first_wait_seconds=0.01, silence_seconds=1)


@pytest.fixture
def server(tmp_path: Path, fault_server: Callable[..., Any]) -> Any:
    (tmp_path / "file.npy").write_bytes(CONTENT)
    return fault_server(tmp_path)


def fetched(server: Any, name: str = "file.npy", max_bytes: int = 10_000_000, patience: Patience = PATIENCE) -> bytes:
    file = io.BytesIO()
    fetch(f"{server.url}/{name}", Sink(file, Path("copy"), max_bytes), patience, Stop())
    file.truncate()
    return file.getvalue()


def test_there(server: Any) -> None:
    assert fetched(server) == CONTENT
    assert size_of(f"{server.url}/file.npy", PATIENCE, Stop()) == len(CONTENT)
    assert len(server.gets) == 1


@pytest.mark.parametrize("kind", ["503", "429", "500", "502", "504", "408", "418", "cut", "stall", "sign-in", "short"])
def test_trouble_is_tried_again(server: Any, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    server.fail("file.npy", kind, 2)
    with caplog.at_level(logging.WARNING):
        content = fetched(server)
    assert content == (CONTENT[: len(CONTENT) // 2] if kind == "short" else CONTENT)  # nothing says that it is short
    if kind not in ("short",):
        assert 1 <= len(caplog.records) <= 2


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("503", "503 Service Unavailable"),
        ("429", "429 Too Many Requests"),
        ("sign-in", r"a web page \(text/html\) in place of the file"),
    ],
)
def test_trouble_that_stays_is_named(server: Any, kind: str, cause: str) -> None:
    server.fail("file.npy", kind)
    with pytest.raises(RemoteFileTroubleError, match=rf"^{server.url}/file.npy: {cause}[^\n]*, after 4 tries; [^\n]*$"):
        fetched(server)
    assert server.num_gets("file.npy") == 4


@pytest.mark.parametrize(("status", "error"), [("404", RemoteFileMissingError), ("410", RemoteFileMissingError)])
def test_missing_is_not_tried_again(server: Any, status: str, error: type[AlexnetError]) -> None:
    server.fail("file.npy", status)
    with pytest.raises(error, match=rf"^{server.url}/file.npy: not there \({status}"):
        fetched(server)
    assert server.num_gets("file.npy") == 1


@pytest.mark.parametrize("status", ["401", "403"])
def test_denied_is_not_missing(server: Any, status: str) -> None:
    server.fail("file.npy", status)
    with pytest.raises(RemoteFileDeniedError, match=rf"denied \({status}"):
        fetched(server)


def test_a_store_that_hides_absence_is_said(server: Any) -> None:
    server.fail("file.npy", "403", x_amz_request_id="1")
    with pytest.raises(
        RemoteFileMissingError, match=r"403 .*as this store also answers for what is not there"
    ) as error:
        fetched(server)
    assert error.value.hidden


def test_retry_after_is_heeded(server: Any) -> None:
    server.fail("file.npy", "429", 1, Retry_After="2")
    started = time.monotonic()
    assert fetched(server) == CONTENT
    assert time.monotonic() - started >= 2


def test_a_slow_transfer_has_no_limit(server: Any) -> None:
    server.fail("file.npy", "slow")
    assert fetched(server, patience=Patience(retries=0, silence_seconds=2)) == CONTENT
    assert server.num_gets("file.npy") == 1


def test_a_broken_transfer_goes_on(server: Any) -> None:
    """The server cuts every answer in half; what came counts, and a try that brings much starts the count anew."""
    server.fail("file.npy", "cut", 1)
    assert fetched(server) == CONTENT
    assert [asked for _, asked in server.gets] == ["", f"bytes={len(CONTENT) // 2}-"]


def test_without_ranges_it_begins_anew(server: Any) -> None:
    server.ranges = False
    server.fail("file.npy", "cut", 1)
    assert fetched(server) == CONTENT


def test_tries_that_bring_something_do_not_use_up_the_retries(server: Any, tmp_path: Path) -> None:
    big = CONTENT * 20
    (tmp_path / "file.npy").write_bytes(big)
    server.fail("file.npy", "cut", 5)
    assert hashlib.sha256(fetched(server, max_bytes=len(big))).digest() == hashlib.sha256(big).digest()
    assert server.num_gets("file.npy") == 6 > PATIENCE.retries + 1


@pytest.mark.parametrize("kind", ["endless", "bomb"])
def test_too_much_is_refused_while_it_comes(server: Any, kind: str) -> None:
    server.fail("file.npy", kind)
    with pytest.raises(RemoteFileTroubleError, match="more than 1,000,000 bytes"):
        fetched(server, max_bytes=1_000_000)


def test_encoded_answers(server: Any) -> None:
    server.fail("file.npy", "gzip")
    assert fetched(server) == CONTENT
    server.faults.clear()
    server.fail("file.npy", "", 1, Content_Encoding="br")
    assert fetched(server) == CONTENT


@pytest.mark.parametrize("kind", ["wrong", "long", "short"])
def test_another_content_is_tried_again_and_named(server: Any, kind: str) -> None:
    expected = (len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    server.fail("file.npy", kind, 1)
    file = io.BytesIO()
    fetch(f"{server.url}/file.npy", ShardSink(file, Path("copy"), expected), PATIENCE, Stop())
    assert file.getvalue() == CONTENT
    server.fail("file.npy", kind)
    with pytest.raises(RemoteFileTroubleError, match="expected 3000000.* after 4 tries"):
        fetch(f"{server.url}/file.npy", ShardSink(io.BytesIO(), Path("copy"), expected), PATIENCE, Stop())


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x.npy", "http://no-such-host.invalid/x.npy", "http://[::1/x.npy"])
def test_no_server(url: str) -> None:
    with pytest.raises(RemoteFileTroubleError, match=rf"^{re.escape(url)}: [^\n]*, after 4 tries; [^\n]*$"):
        fetch(url, Sink(io.BytesIO(), Path("copy"), 10), PATIENCE, Stop())


def test_a_full_disk_is_named_at_once(server: Any) -> None:
    class Full(io.BytesIO):
        def write(self, content: Any) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(LocalTroubleError, match=r"^/kept/here: cannot be written \(the disk is full\)[^\n]*$"):
        fetch(f"{server.url}/file.npy", Sink(Full(), Path("/kept/here"), 10_000_000), PATIENCE, Stop())
    assert server.num_gets("file.npy") == 1


@pytest.mark.parametrize("kind", ["stall", "503"])
def test_a_stop_ends_a_stalled_transfer_and_a_wait(server: Any, kind: str) -> None:
    server.fail("file.npy", kind)
    stop = Stop()
    ended = threading.Event()

    def work() -> None:
        patient = Patience(first_wait_seconds=300, silence_seconds=300)
        with pytest.raises(StoppedError):
            fetch(f"{server.url}/file.npy", Sink(io.BytesIO(), Path("copy"), 10_000_000), patient, stop)
        ended.set()

    worker = threading.Thread(target=work)
    worker.start()
    deadline = time.monotonic() + 60
    while not server.gets and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    stop.request()
    assert ended.wait(60)  # the server is silent for 300
    worker.join()


def test_globs_of_a_listing(server: Any, tmp_path: Path) -> None:
    """Of a web server's folder those names count that its page links to, wherever the links lead."""
    names = ("t-1.tar", "/shards/t-0.tar", "../t-9.json", "t-a%20b.tar", "?C=N", "http://elsewhere/t-2.tar?x=t-3.tar")
    (tmp_path / "shards").mkdir()
    for name in ("t-0.tar", "t-1.tar", "t-2.tar", "t-a b.tar"):
        (tmp_path / "shards" / name).write_bytes(b"")
    server.listings["shards/"] = "".join(f'<a class="x" href="{name}">x</a>' for name in names).encode()
    found = glob_of(f"{server.url}/shards/t-*.tar", PATIENCE, Stop())
    assert found == [f"{server.url}/shards/{name}" for name in ("t-0.tar", "t-1.tar", "t-2.tar", "t-a b.tar")]
    assert glob_of(f"{server.url}/shards/t-[01].tar", PATIENCE, Stop()) == found[:2]
    with pytest.raises(RemoteFileMissingError):
        glob_of(f"{server.url}/none/t-*.tar", PATIENCE, Stop())
