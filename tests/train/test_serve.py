"""A run's page over HTTP: what is served and to whom, what is refused, and that nothing of it reaches the run."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import Result

from alexnet_shards import AlexnetError
from alexnet_train.serve import MAX_CONNECTIONS, serving

PAGE = b"<html><body><header><h1>Run x</h1></header><main></main></body></html>"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run's directory with what is served in it, and what must not be."""
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (tmp_path / "secret.html").write_bytes(b"secret")
    (run / "report.html").write_bytes(PAGE)
    (run / "metrics.jsonl").write_text('{"kind": "step", "step": 1200}\n')
    (run / "checkpoints" / "best.html").write_bytes(b"secret")
    (run / "best.pt").write_bytes(b"secret")
    (run / ".hidden.html").write_bytes(b"secret")
    (run / "link.html").symlink_to(tmp_path / "secret.html")
    (run / "here.html").symlink_to(run / "report.html")
    (run / "dir.html").mkdir()
    os.mkfifo(run / "pipe.html")
    return run


@pytest.fixture
def address(folder: Path) -> Iterator[str]:
    with serving(folder, 0, "127.0.0.1") as found:
        assert found is not None
        yield found


def ask(address: str, request: str) -> tuple[int, bytes, bytes]:
    """(status, head, body) of what a server says to these very bytes."""
    found = re.match(r"http://([^/]+):(\d+)/", address)
    assert found is not None
    with socket.create_connection((found[1].replace("0.0.0.0", "127.0.0.1"), int(found[2])), timeout=60) as connection:
        connection.sendall(request.encode("latin-1"))
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), head, body


def answers(address: str) -> bool:
    """Whether there is room for a connection more."""
    try:
        return get(address, "/")[0] == 200
    except (IndexError, ConnectionError):  # closed without a word
        return False


def get(
    address: str, path: str, *headers: str, host: str = "localhost", method: str = "GET"
) -> tuple[int, bytes, bytes]:
    return ask(address, "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {host}", *headers, "", ""]))


def test_the_page_says_when_the_run_last_spoke(address: str, folder: Path) -> None:
    spoken = time.time() - 90
    os.utime(folder / "metrics.jsonl", (spoken, spoken))
    status, head, body = get(address, "/")
    assert status == 200
    assert b"Cache-Control: no-store" in head
    assert b"Python" not in head
    ago = re.search(rb'id="last-word">The run last spoke [\d: A-Z+-]+, (\d+) s ago, at step 1,200', body)
    assert ago is not None
    assert 89 <= int(ago[1]) <= time.time() - spoken + 1
    assert body.replace(re.findall(rb"<p class=.*</p>\n", body)[0], b"") == PAGE
    (folder / "report.html").write_bytes(PAGE.replace(b"Run x", b"Run y"))
    assert b"Run y" in get(address, "/report.html")[2], "a refresh shows the newest"
    assert get(address, "/metrics.jsonl")[2] == b'{"kind": "step", "step": 1200}\n'
    assert get(address, "/", method="HEAD")[2] == b""
    (folder / "report.html").unlink()
    assert b"No page yet" in get(address, "/")[2]


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.html", "/..%2fsecret.html", "/%2e%2e/secret.html", "/%2e%2e%2fsecret.html", "/..\\secret.html",
        "//secret.html", "/./report.html", "/checkpoints/best.html", "/checkpoints/../report.html", "/link.html",
        "/here.html", "/dir.html", "/pipe.html", "/best.pt", "/.hidden.html", "/report.html%00.html", "/report.html/",
        "/etc/passwd", "http://localhost/report.html", "/report%2ehtml", "*", "/\xff.html", "/" + "a" * 300 + ".html",
    ],
)  # fmt: skip
def test_nothing_else_is_served(address: str, path: str) -> None:
    status, _, body = get(address, path)
    assert status == 404
    assert b"secret" not in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"])
def test_it_is_read_only(address: str, method: str, folder: Path) -> None:
    assert get(address, "/report.html", method=method)[0] in (405, 501)
    assert (folder / "report.html").read_bytes() == PAGE


def test_other_hosts_names_origins_and_sites_are_refused(address: str) -> None:
    for host in ("localhost", "localhost:9000", "127.0.0.1:8042", "[::1]:80", "LOCALHOST"):
        assert get(address, "/", host=host)[0] == 200, "a tunnel has a port of its own"
    for host in ("evil.example", "evil.example:8042", "localhost.evil.example", "", "127.0.0.1.evil.example"):
        assert get(address, "/", host=host)[0] == 403
    assert ask(address, "GET / HTTP/1.1\r\n\r\n")[0] == 403
    assert get(address, "/", "Host: evil.example")[0] == 403
    assert get(address, "/", "Origin: http://localhost")[0] == 200
    for origin in ("http://evil.example", "null", "http://localhost:3000"):
        status, head, _ = get(address, "/", f"Origin: {origin}")
        assert status == 403
        assert b"access-control" not in head.lower()
    assert get(address, "/", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors")[0] == 403
    assert get(address, "/", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate")[0] == 200, "a link may lead here"


def test_other_machines_need_the_token(folder: Path) -> None:
    with serving(folder, 0, "0.0.0.0") as found:
        assert found is not None
        token = found.rstrip("/").rpartition("/")[2]
        assert len(token) >= 20
        for path in ("/", "/report.html", f"/{token[:-1]}/", f"/{token}x/report.html", f"/{token}/../report.html"):
            assert get(found, path)[0] == 404
        assert get(found, f"/{token}/")[0] == get(found, f"/{token}/report.html", host="10.0.0.7:1")[0] == 200
        assert get(found, f"/{token}/", host="evil.example")[0] == 403
    with serving(folder, 0, "127.0.0.1") as again:
        assert again is not None
        assert again.count("/") == 3, "none on this machine alone"


def test_a_busy_port_is_one_line_and_only_rank_0_serves(
    folder: Path, address: str, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(re.findall(r":(\d+)/", address)[0])
    done = run("train", "--shards", folder, "--out", folder.parent / "other", "--serve", port)
    assert (done.exit_code, len(done.stderr.splitlines())) == (1, 1)
    assert re.search(rf"--serve {port}: .*(in use).*name another port", done.stderr)
    assert not (folder.parent / "other").exists()
    with pytest.raises(AlexnetError, match="cannot be served"), serving(folder, 0, "192.0.2.1"):
        pass
    assert run("train", "--shards", folder, "--serve", "--dry-run").exit_code == 2
    assert run("train", "--shards", folder, "--serve", 70000).exit_code == 2
    monkeypatch.setenv("RANK", "1")
    with serving(folder, port, "127.0.0.1") as found:
        assert found is None


def test_a_browser_shows_a_run_that_trains_under_a_flood(
    make_run: Callable[..., str], run: Callable[..., Result], browser: SimpleNamespace, tmp_path: Path
) -> None:
    """Connections that say nothing, nonsense and too many at once: the run ends with the weights that it has alone."""
    pattern = make_run(tmp_path / "shards")
    sets = [word for one in ("width=0.0625", "batch_size=5", "epochs=100000") for word in ("--set", one)]
    words = ["train", "--shards", pattern, "--recipe", "demo", *sets, "--device", "cpu", "--json"]
    command = [sys.executable, "-m", "alexnet_train.cli", *words, "--out", str(tmp_path / "a"), "--serve", "0"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    address = ""
    while not address:
        line = child.stderr.readline()
        assert line, "it has ended"
        address = "".join(re.findall(r"while it trains: (http://127\.0\.0\.1:\d+/)", line))
    threading.Thread(target=child.stderr.read, daemon=True).start()
    port = int(address.rstrip("/").rpartition(":")[2])
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
    for _ in range(4 * MAX_CONNECTIONS):
        with socket.create_connection(("127.0.0.1", port)) as one:
            one.sendall(b"\x00\xff nonsense\r\n\r\n")
    deadline = time.monotonic() + 120
    while not (tmp_path / "a" / "report.html").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    while not answers(address) and time.monotonic() < deadline:  # the flood is over
        time.sleep(0.2)
    drawn = "document.documentElement.dataset.drawn === 'yes'"
    with browser.opened(address, 390, "dark", drawn) as seen:
        assert seen.text("h1") == ["Run a"]
        assert seen.text("#last-word")[0].startswith("The run last spoke ")
        assert [message for message in seen.messages if "favicon" not in message and "404" not in message] == []
        assert {url.rpartition("/")[0] + "/" for url in seen.requests if not url.startswith("data:")} == {address}
    os.kill(child.pid, signal.SIGTERM)
    child.communicate(timeout=100)
    assert child.returncode == 143
    for one in idle:
        one.close()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port))
    lines = [json.loads(line) for line in (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()]
    epochs = [line for line in lines if line["kind"] == "epoch"]
    alone = [*words, "--set", f"epochs={len(epochs)}", "--out", str(tmp_path / "b")]
    assert run(*alone).exit_code == 0
    again = [json.loads(line) for line in (tmp_path / "b" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["train_loss"] for line in again if line["kind"] == "epoch"]
    assert losses == [line["train_loss"] for line in epochs]


def test_a_run_that_has_no_directory_yet_has_a_page(tmp_path: Path) -> None:
    with serving(tmp_path / "later", 0, "127.0.0.1") as found:
        assert found is not None
        status, _, content = get(found, "/")
        assert (status, b"No page yet" in content) == (200, True)
        assert get(found, "/metrics.jsonl")[0] == 404
