"""Files read as streams: from servers with and without ranges and from S3, through whatever breaks on the way."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alexnet_remote.pieces import RemotePieces, local_pieces
from alexnet_remote.stop import Stop
from alexnet_remote.tries import Patience, RemoteFileMissingError, RemoteFileTroubleError
from alexnet_shards.errors import FileError

CONTENT = np.random.default_rng(0).bytes(9_000_000)
PATIENCE = Patience(retries=3, first_wait_seconds=0.01, silence_seconds=2)


def stream(url: str, start: int = 0) -> RemotePieces:
    return RemotePieces(url, PATIENCE, Stop(), start)


@pytest.fixture
def server(tmp_path: Path, fault_server: Callable[..., Any]) -> Any:
    (tmp_path / "a.tar").write_bytes(CONTENT)
    return fault_server(tmp_path)


def test_local(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(CONTENT)
    assert b"".join(local_pieces(tmp_path / "a.tar", 5_000_001)) == CONTENT[5_000_001:]
    with pytest.raises(FileError, match=r"b\.tar: cannot be read"):
        list(local_pieces(tmp_path / "b.tar"))


def test_gone_on_with_by_range(server: Any) -> None:
    server.fail("a.tar", "cut", 2)
    server.fail("a.tar", "503", 1)
    pieces = stream(f"{server.url}/a.tar")
    assert b"".join(pieces) == CONTENT
    assert pieces.requests == 4
    assert pieces.received_bytes == len(CONTENT)  # nothing twice
    assert b"".join(stream(f"{server.url}/a.tar", 8_000_000)) == CONTENT[8_000_000:]


def test_a_silent_connection_is_left(server: Any) -> None:
    server.fail("a.tar", "stall", 1)
    assert b"".join(stream(f"{server.url}/a.tar")) == CONTENT


def test_read_over_where_there_are_no_ranges(tmp_path: Path, plain_server: Callable[..., Any]) -> None:
    (tmp_path / "a.tar").write_bytes(CONTENT)
    proxy = plain_server(tmp_path)
    proxy.fail("GET /a.tar", "cut", 1)
    proxy.fail("GET /a.tar", "reset", 1)
    pieces = stream(f"http://127.0.0.1:{proxy.port}/a.tar")
    assert b"".join(pieces) == CONTENT
    assert pieces.requests == 3
    assert pieces.received_bytes > 1.4 * len(CONTENT)
    assert b"".join(stream(f"http://127.0.0.1:{proxy.port}/a.tar", 8_999_999)) == CONTENT[8_999_999:]


def test_it_ends_after_all_tries(tmp_path: Path, plain_server: Callable[..., Any]) -> None:
    (tmp_path / "a.tar").write_bytes(CONTENT)
    proxy = plain_server(tmp_path)
    proxy.fail("GET /a.tar", "cut")
    with pytest.raises(RemoteFileTroubleError, match=r"a\.tar: .*broke off .* after 4 tries; check the address"):
        list(stream(f"http://127.0.0.1:{proxy.port}/a.tar"))
    with pytest.raises(RemoteFileMissingError):
        list(stream(f"http://127.0.0.1:{proxy.port}/b.tar"))


@pytest.mark.parametrize("size_changes", [True, False])
def test_a_file_that_changes_is_noticed(tmp_path: Path, plain_server: Callable[..., Any], size_changes: bool) -> None:
    (tmp_path / "a.tar").write_bytes(CONTENT)
    proxy = plain_server(tmp_path)
    proxy.fail("GET /a.tar", "cut", 1)
    pieces = iter(stream(f"http://127.0.0.1:{proxy.port}/a.tar"))
    next(pieces)
    (tmp_path / "a.tar").write_bytes(CONTENT[:1000] + b"!" + CONTENT[1001 + size_changes :])
    os.utime(tmp_path / "a.tar", (1, 1))
    with pytest.raises(RemoteFileTroubleError, match=r"a\.tar: changed while it was read \("):
        list(pieces)


def test_a_checksum_of_the_store_is_compared(server: Any) -> None:
    server.fail("a.tar", "", 1, Content_MD5="1B2M2Y8AsgTpgAmY7PhCfg==")
    with pytest.raises(RemoteFileTroubleError, match=r"a\.tar: md5 \w{12}, the store has d41d8cd98f00: changed on"):
        list(stream(f"{server.url}/a.tar"))


def test_s3(s3: Any) -> None:
    s3.files.pipe_file(f"{s3.bucket}/a.tar", CONTENT)
    s3.proxy.fail("GET */a.tar*", "503", 2)
    s3.proxy.fail("GET */a.tar*", "cut", 2)
    s3.proxy.fail("GET */a.tar*", "reset", 2)
    s3.proxy.fail("GET */a.tar*", "slow", 1)
    assert b"".join(stream(f"{s3.url}/a.tar")) == CONTENT
    assert b"".join(stream(f"{s3.url}/a.tar", 8_500_000)) == CONTENT[8_500_000:]
    with pytest.raises(RemoteFileMissingError):
        list(stream(f"{s3.url}/b.tar"))


def test_an_object_that_changes_is_noticed(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alexnet_remote.store.PIECE_BYTES", 1 << 20)
    s3.files.pipe_file(f"{s3.bucket}/a.tar", CONTENT)
    pieces = iter(stream(f"{s3.url}/a.tar"))
    next(pieces)
    s3.files.pipe_file(f"{s3.bucket}/a.tar", CONTENT[::-1])
    with pytest.raises(RemoteFileTroubleError, match=r"a\.tar: (changed while it was read|md5 \w+, the store has)"):
        list(pieces)
