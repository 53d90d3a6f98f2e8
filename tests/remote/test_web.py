"""Requests to a web server: addresses as they are asked for, redirects, certificates, passwords that go nowhere else."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alexnet_remote.outcome import Head, TroubleError
from alexnet_remote.web import web_answer, web_head


def body(url: str, start: int = 0, version: str = "") -> bytes:
    head, *pieces = web_answer(url, start, version, 10)
    assert isinstance(head, Head)
    return b"".join(piece for piece in pieces if isinstance(piece, bytes))


@pytest.mark.parametrize("folder", ["plain", "a b", "we{ird}", "[x]", "ünï", "100%", "a+b&c"])
def test_odd_folders(fault_server: Callable[..., Any], tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "x.tar").write_bytes(b"content")
    server = fault_server(tmp_path)
    assert body(f"{server.url}/{folder}/x.tar?sig=a%2Fb") == b"content"
    assert web_head(f"{server.url}/{folder}/x.tar", 10).size == 7


def test_from_a_place_on_if_it_is_the_same(fault_server: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"0123456789")
    server = fault_server(tmp_path)
    assert body(f"{server.url}/x.tar", 4, '"1"') == b"456789"
    assert body(f"{server.url}/x.tar", 4, '"other"') == b"0123456789"


def test_redirects_stay_on_the_web(fault_server: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"content")
    server = fault_server(tmp_path)
    server.fail("moved.tar", "302", Location="/x.tar")
    server.fail("away.tar", "302", Location="file:///etc/passwd")
    server.fail("round.tar", "302", Location="/round.tar")
    assert body(f"{server.url}/moved.tar") == b"content"
    assert web_head(f"{server.url}/moved.tar", 10).size == 7
    with pytest.raises(TroubleError, match="302 .*not allowed"):
        body(f"{server.url}/away.tar")
    with pytest.raises(TroubleError, match="302"):
        body(f"{server.url}/round.tar")


def test_a_password_is_sent_to_its_host_alone(fault_server: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"content")
    first, second = fault_server(tmp_path), fault_server(tmp_path)
    first.fail("moved.tar", "302", Location=f"{second.url}/x.tar")
    address = first.url.replace("://", "://me:p%40ss@")
    assert body(f"{address}/moved.tar") == b"content"
    assert first.authorizations == ["Basic bWU6cEBzcw=="]
    assert second.authorizations == [""]


def test_a_password_is_sent_again_where_its_host_leads_to_itself(
    fault_server: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "x.tar").write_bytes(b"content")
    server, other = fault_server(tmp_path), fault_server(tmp_path)
    server.fail("moved.tar", "302", Location="/again.tar")
    server.fail("again.tar", "302", Location="/x.tar")
    server.fail("away.tar", "302", Location=f"{other.url}/back.tar")
    other.fail("back.tar", "302", Location=f"{server.url}/x.tar")
    address = server.url.replace("://", "://me:p%40ss@")
    assert body(f"{address}/moved.tar") == b"content"
    assert server.authorizations == ["Basic bWU6cEBzcw=="] * 3
    assert body(f"{address}/away.tar") == b"content"
    assert (server.authorizations[3:], other.authorizations) == (["Basic bWU6cEBzcw==", ""], [""])


def test_a_certificate_that_nobody_signed(fault_server: Callable[..., Any], tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    (tmp_path / "x.tar").write_bytes(b"content")
    server = fault_server(tmp_path, (certificate, key))
    with pytest.raises(TroubleError, match="CERTIFICATE_VERIFY_FAILED"):
        body(f"{server.url}/x.tar")
