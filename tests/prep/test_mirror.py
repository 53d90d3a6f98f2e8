"""A source at an address, by python's own web server: the same bytes as from the folder; one line for what is not there."""

import gzip
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from alexnet_prep.errors import SourceError
from alexnet_prep.mirror import mirrored


@pytest.fixture
def address(small_source: Any) -> Iterator[str]:
    """Where the small source is served, its validation archive compressed."""
    plain = small_source.directory / "ILSVRC2010_images_val.tar"
    plain.with_name(plain.name + ".gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *rest: Any) -> None:
            super().__init__(*rest, directory=str(small_source.directory))

        def log_message(self, format: str, *words: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_what_is_at_an_address(address: str, tmp_path: Path, small_source: Any) -> None:
    folder = mirrored(Path(address), tmp_path / "out", "auto", "all")
    archives = {path.name: path.read_text().strip() for path in folder.glob("*.url")}
    names = [f"ILSVRC2010_images_{split}.tar" for split in ("train", "val", "test")]
    assert archives == {f"{name}.url": f"{address}/{name}{'.gz' if 'val' in name else ''}" for name in names}
    devkit = "ILSVRC2010_devkit-1.0.tar.gz"
    assert (folder / devkit).read_bytes() != b""
    stamps = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert mirrored(Path(address), tmp_path / "out", "2010", "all") == folder
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == stamps
    assert mirrored(small_source.directory, tmp_path / "out", "auto", "all") == small_source.directory


def test_nothing_there_is_one_line(address: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no ImageNet source there; expected ILSVRC2012_img_train.tar"):
        mirrored(Path(f"{address}/"), tmp_path / "out", "2012", "all")


def test_shards_of_an_address(address: str, small_source: Any, tmp_path: Path, prep: Any) -> None:
    words = ("--split", "val", "--num-shards", 2)
    prep("shards", "--source", address, "--out", tmp_path / "web", *words)
    prep("shards", "--source", small_source.directory, "--out", tmp_path / "disk", *words)
    for path in (tmp_path / "disk").glob("val*"):
        assert (tmp_path / "web" / path.name).read_bytes() == path.read_bytes()


def test_shards_of_a_bucket(small_source: Any, tmp_path: Path, prep: Any, s3: Any) -> None:
    for path in small_source.directory.iterdir():
        s3.files.put_file(str(path), f"{s3.bucket}/set/{path.name}")
    words = ("--split", "train", "--num-shards", 2)
    prep("shards", "--source", f"{s3.url}/set", "--out", tmp_path / "bucket", *words)
    prep("shards", "--source", small_source.directory, "--out", tmp_path / "disk", *words)
    for path in (tmp_path / "disk").glob("train*"):
        assert (tmp_path / "bucket" / path.name).read_bytes() == path.read_bytes()
