"""Folders in stores: what their names stand for, and shards that are brought and gone again."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from alexnet_remote.remotefolder import bring_sets, remote_folder
from alexnet_shards.errors import FormatError, PatternError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ALEXNET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def url(tmp_path: Path, make_shards: Callable[..., str], fault_server: Callable[..., Any]) -> str:
    make_shards(tmp_path / "a", (3, 4))
    (tmp_path / "b").mkdir()
    return f"{fault_server(tmp_path).url}/a"


def test_a_folder_without_a_listing(url: str, cache: Path) -> None:
    with remote_folder([url], None) as (folder, names):
        assert names == ()
        assert bring_sets(folder, names, "all") == ("train",)
        assert {path.name for path in folder.copy.glob("[!.]*")} == {"train.manifest.json", "train.index.npy"}
        with folder.fetched(folder.copy / "train-001.tar") as path:
            assert path.stat().st_size == folder.size_of("train-001.tar")
        assert not path.exists()
        with folder.fetched(folder.copy / "train-009.tar") as path:
            assert not path.exists()
        with pytest.raises(PatternError, match=r"train-009\.tar: .*404.*; correct the pattern"):
            folder.size_of("train-009.tar")
    assert not list((cache / "remote" / "sets").iterdir())


def test_what_killed_commands_left_goes_after_a_day(url: str, cache: Path) -> None:
    home, day = cache / "remote" / "sets", time.time() - 25 * 3600
    command = (
        "import os, sys\nfrom alexnet_remote.remotefolder import remote_folder\n"
        "with remote_folder([sys.argv[1]], None) as (folder, _), folder.fetched(folder.copy / 'train-001.tar'):\n"
        "    os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", command, url], check=False, env={**os.environ, "ALEXNET_CACHE": str(cache)})
    (dead,) = home.iterdir()
    assert list(dead.rglob("train-001.tar"))
    with remote_folder([url], None) as (alive, _):
        assert dead.exists()
        for path in (dead, alive.copy):
            os.utime(path, (day, day))
        with remote_folder([url], None) as (folder, _):
            assert set(home.iterdir()) == {alive.copy, folder.copy}
    assert not list(home.iterdir())


def test_shards_by_pattern(url: str) -> None:
    with remote_folder([f"{url}/train-{{000..001}}.tar"], None) as (folder, names):
        assert names == ("train-000.tar", "train-001.tar")
        assert bring_sets(folder, names, "all") == ("train",)
    with (
        pytest.raises(PatternError, match="names shards in several folders"),
        remote_folder([f"{url}/train-000.tar", f"{url[:-1]}b/train-000.tar"], None),
    ):
        pass


def test_what_is_not_there_is_named_by_its_address(url: str) -> None:
    with (
        pytest.raises(FormatError, match=rf"^{url[:-1]}b: no manifest of"),
        remote_folder([f"{url[:-1]}b"], None) as (
            folder,
            names,
        ),
    ):
        bring_sets(folder, names, "all")


def test_nothing_is_left_of_a_longer_file_that_broke_off(cache: Path) -> None:
    """A file was replaced by a shorter one between two tries."""
    contents = [b"x" * 3000, b"y" * 100]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = contents[0] if len(contents) == 1 else contents.pop(0)
            self.send_response(200)
            self.send_header("Content-Length", str(4000 if len(content) == 3000 else len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *words: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with remote_folder([f"http://127.0.0.1:{server.server_port}/a/"], None) as (folder, _):
            path = folder.bring("stats.npz", 1 << 20)
            assert path is not None
            assert path.read_bytes() == b"y" * 100
            contents.insert(0, b"x" * 3000)
            with folder.fetched(folder.copy / "train-000.tar") as shard:
                assert shard.read_bytes() == b"y" * 100
    finally:
        server.shutdown()
        server.server_close()
