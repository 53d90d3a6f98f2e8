"""Sources at addresses: the same bytes of every output as from the folder, whatever breaks on the way; one line for what is
not there."""

import gzip
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pytest
import zstandard
from fsspec.implementations.memory import MemoryFileSystem

from alexnet_prep import mirror
from alexnet_prep.errors import SourceError
from alexnet_prep.mirror import mirrored
from alexnet_prep.rundir import locked_directory
from alexnet_remote import remotefile
from alexnet_shards.files import atomic_file


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
    folder = mirrored(address, tmp_path / "out", "auto", "all")
    archives = {path.name: path.read_text().splitlines()[0] for path in folder.glob("*.url")}
    names = [f"ILSVRC2010_images_{split}.tar" for split in ("train", "val", "test")]
    assert archives == {f"{name}.url": f"{address}/{name}{'.gz' if 'val' in name else ''}" for name in names}
    devkit = "ILSVRC2010_devkit-1.0.tar.gz"
    assert (folder / devkit).read_bytes() != b""
    stamps = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert mirrored(address, tmp_path / "out", "2010", "all") == folder
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == stamps
    assert mirrored(small_source.directory, tmp_path / "out", "auto", "all") == small_source.directory


def test_a_file_of_the_same_size_and_another_version_is_brought_again(
    address: str, tmp_path: Path, small_source: Any
) -> None:
    """Labels of the test images were corrected on the server: as many bytes, other classes."""
    truth = small_source.directory / "ILSVRC2010_test_ground_truth.txt"
    folder = mirrored(address, tmp_path / "out", "auto", "all")
    corrected = truth.read_bytes()[::-1]
    assert corrected != (folder / truth.name).read_bytes() == truth.read_bytes()
    time = truth.stat().st_mtime
    truth.write_bytes(corrected)
    os.utime(truth, (time + 5, time + 5))
    assert mirrored(address, tmp_path / "out", "auto", "all") == folder
    assert (folder / truth.name).read_bytes() == corrected


class Untagged(MemoryFileSystem):  # type: ignore[misc]
    """A store that tells of a file how long it is, and no more."""

    protocol = "untagged"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(MemoryFileSystem._strip_protocol(path.replace("untagged://", "memory://")))

    def info(self, path: str, **more: Any) -> dict[str, Any]:
        return {name: value for name, value in super().info(path, **more).items() if name != "created"}


def test_a_store_without_versions_is_asked_again(tmp_path: Path, small_source: Any) -> None:
    fsspec.register_implementation("untagged", Untagged, clobber=True)
    store = fsspec.filesystem("untagged")
    for path in small_source.directory.iterdir():
        store.pipe_file(f"/in/{path.name}", path.read_bytes())
    folder, name = mirrored("untagged://in", tmp_path / "out", "auto", "all"), "ILSVRC2010_test_ground_truth.txt"
    corrected = (folder / name).read_bytes()[::-1]
    store.pipe_file(f"/in/{name}", corrected)
    assert mirrored("untagged://in", tmp_path / "out", "auto", "all") == folder
    assert (folder / name).read_bytes() == corrected


@pytest.mark.parametrize("noted", [None, b"", b"[]", b'{"ILSVRC2010_test_ground_truth.txt": 3}'])
def test_versions_that_are_not_known_are_of_no_version(
    noted: bytes | None, address: str, tmp_path: Path, small_source: Any
) -> None:
    """A run of before this was noted, or one that was killed before it was."""
    folder = mirrored(address, tmp_path / "out", "auto", "all")
    brought = folder / "ILSVRC2010_test_ground_truth.txt"
    brought.write_bytes(brought.read_bytes()[::-1])
    versions = folder / ".versions.json"
    versions.unlink() if noted is None else versions.write_bytes(noted)
    mirrored(address, tmp_path / "out", "auto", "all")
    assert brought.read_bytes() == (small_source.directory / brought.name).read_bytes()
    assert json.loads(versions.read_bytes())[brought.name]


def test_a_run_at_work_keeps_its_files(address: str, tmp_path: Path, prep: Any) -> None:
    """A second command on the same folder is refused, and had removed what stands for the other splits by then."""
    out = tmp_path / "out"
    with locked_directory(out):
        folder = mirrored(address, out, "auto", "all")
        before = {path: path.read_bytes() for path in folder.iterdir()}
        assert (
            "is at work there" in prep("shards", "--source", address, "--out", out, "--split", "val", status=1).stderr
        )
        assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_parts_that_begin_at_once_bring_each_file_once(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched, others = list[str](), list[threading.Thread]()

    def fetch_file(url: str, path: Path, max_bytes: int) -> None:
        if not others:
            others.append(threading.Thread(target=mirrored, args=(address, tmp_path / "out", "auto", "all")))
            others[0].start()
            others[0].join(1)  # it looks what is there, and waits
        fetched.append(path.name)
        with atomic_file(path) as file:  # on the disk while the other looks
            others[0].join(0.5)
            file.write(b"a part")
        remotefile.fetch_file(url, path, max_bytes)

    monkeypatch.setattr(mirror, "fetch_file", fetch_file)
    mirrored(address, tmp_path / "out", "auto", "all")
    others[0].join()
    assert sorted(fetched) == ["ILSVRC2010_devkit-1.0.tar.gz", "ILSVRC2010_test_ground_truth.txt"]


def test_nothing_there_is_one_line(address: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no ImageNet source there; expected ILSVRC2012_img_train.tar"):
        mirrored(f"{address}/", tmp_path / "out", "2012", "all")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALEXNET_CACHE", str(tmp_path / "cache"))


def digests(out: Path) -> dict[str, str]:
    """sha256 of every output by name."""
    files = (path for path in out.iterdir() if path.is_file() and not path.name.startswith("."))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def made(small_source: Any, tmp_path: Path, prep: Any) -> Callable[..., dict[str, str]]:
    """Make shards of a source; returns the digests of what is there then."""

    def make(source: object, name: str, *words: object) -> dict[str, str]:
        prep("shards", "--source", source, "--out", tmp_path / name, "--num-shards", 2, "--workers", 2, *words)
        return digests(tmp_path / name)

    return make


def test_from_a_server_without_ranges(
    small_source: Any, tmp_path: Path, plain_server: Callable[..., Any], made: Callable[..., dict[str, str]]
) -> None:
    proxy = plain_server(small_source.directory)
    proxy.fail("GET /ILSVRC2010_images_*", "cut", 1)
    here = made(small_source.directory, "here")
    assert made(f"http://127.0.0.1:{proxy.port}/", "there") == here
    before = proxy.count("GET /ILSVRC2010_images_train.tar")
    assert made(f"http://127.0.0.1:{proxy.port}", "there") == here  # nothing is made twice
    assert proxy.count("GET /ILSVRC2010_images_train.tar") <= 2 * before  # looked at, not read
    assert {path.name for path in (tmp_path / "there" / ".build" / "source").glob("*/*")} == {
        ".versions.json",
        "ILSVRC2010_images_train.tar.url",
        "ILSVRC2010_images_val.tar.url",
        "ILSVRC2010_images_test.tar.url",
        "ILSVRC2010_devkit-1.0.tar.gz",
        "ILSVRC2010_test_ground_truth.txt",
        *(["patch_images.tar"] if (small_source.directory / "patch_images.tar").exists() else []),
    }


def test_compressed_from_s3(small_source: Any, s3: Any, made: Callable[..., dict[str, str]]) -> None:
    for path in small_source.directory.iterdir():
        content, name = path.read_bytes(), path.name
        if name == "ILSVRC2010_images_train.tar":
            content, name = zstandard.ZstdCompressor().compress(content), name + ".zst"
        elif name.endswith(".tar"):
            content, name = gzip.compress(content), name + ".gz"
        s3.files.pipe_file(f"{s3.bucket}/in/{name}", content)
    s3.proxy.fail("GET */in/ILSVRC2010_images_train*", "reset", 1)
    s3.proxy.fail("GET */in/ILSVRC2010_images_train*", "503", 1)
    assert made(f"{s3.url}/in", "there", "--read", "once") == made(small_source.directory, "here")


def upload(folder: Path, s3: Any, prefix: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            s3.files.pipe_file(f"{s3.bucket}/{prefix}/{path.relative_to(folder)}", path.read_bytes())


def test_official_archives_of_googles_store(
    small_source: Any, gcs: Any, made: Callable[..., dict[str, str]], prep: Any, tmp_path: Path
) -> None:
    upload(small_source.directory, gcs, "in")
    gcs.proxy.fail("GET /download/*/in?2FILSVRC2010_images_train*", "reset", 1)
    gcs.proxy.fail("GET /download/*/in?2FILSVRC2010_images_train*", "cut", 1)
    gcs.proxy.fail("GET /download/*/in?2FILSVRC2010_images_train*", "503", 1)
    assert made(f"{gcs.url}/in", "there") == made(small_source.directory, "here")
    assert not any(fault.times > 0 for fault in gcs.proxy.faults)
    gcs.proxy.fail("GET *", "403")
    done = prep("shards", "--source", f"{gcs.url}/other", "--out", tmp_path / "none", status=1)
    assert gcs.url in done.stderr.splitlines()[-1]


def test_tars_of_googles_store(same_sources: Any, gcs: Any, made: Callable[..., dict[str, str]]) -> None:
    upload(same_sources.directory / "tars", gcs, "in")
    here = made(same_sources.directory / "tars", "here", *LABELS["tars"])
    assert made(f"{gcs.url}/in", "there", *LABELS["tars"]) == here
    assert (
        made(
            f"{gcs.url}/in/set-train-<00..02>.tar", "named", "--source", f"{gcs.url}/in/set-val*-*.tar", *LABELS["tars"]
        )
        == here
    )


LABELS = {"tars": ("--label", "json:label"), "parquet": ()}


@pytest.mark.parametrize("kind", LABELS)
def test_tars_and_parquet_files_of_a_bucket(
    same_sources: Any, s3: Any, made: Callable[..., dict[str, str]], kind: str
) -> None:
    here = made(same_sources.directory / kind, "here", *LABELS[kind])
    upload(same_sources.directory / kind, s3, "in")
    s3.files.pipe_file(f"{s3.bucket}/in/README.md", b"no part of it")
    for fault in ("503", "reset", "cut"):
        s3.proxy.fail("GET */in/*train-*0*", fault, 1)
    assert made(f"{s3.url}/in", "there", *LABELS[kind]) == here
    assert made(f"{s3.url}/in/", "there", *LABELS[kind]) == here
    if kind == "tars":
        words = (f"{s3.url}/in/set-train-<00..02>.tar", "named", "--source", f"{s3.url}/in/set-val*-*.tar")
        assert made(*words, *LABELS[kind]) == here


@pytest.mark.parametrize("kind", LABELS)
def test_tars_and_parquet_files_of_a_web_server(
    same_sources: Any, plain_server: Callable[..., Any], made: Callable[..., dict[str, str]], kind: str
) -> None:
    folder = same_sources.directory / kind
    proxy = plain_server(folder)
    proxy.fail("GET *train-*0*", "cut", 1)
    address = f"http://127.0.0.1:{proxy.port}"
    named = {
        "tars": (f"{address}/set-train-{{00..02}}.tar", f"{address}/set-validation-{{00..02}}.tar"),
        "parquet": tuple(
            f"{address}/data/{split}-<00000..00001>-of-00002.parquet" for split in ("train", "validation")
        ),
    }[kind]
    here = made(folder, "here", *LABELS[kind])
    assert made(named[0], "there", "--source", named[1], *LABELS[kind]) == here
    if kind == "tars":  # python's server lists what it has
        assert made(address, "listed", *LABELS[kind]) == here


def test_compressed_tars(same_sources: Any, tmp_path: Path, made: Callable[..., dict[str, str]], prep: Any) -> None:
    (tmp_path / "packed").mkdir()
    for path in sorted((same_sources.directory / "tars").iterdir()):
        content = path.read_bytes()
        packed = {".gz": gzip.compress(content), ".zst": zstandard.ZstdCompressor().compress(content)}
        form = ".gz" if "00" in path.name else ".zst"
        (tmp_path / "packed" / f"{path.name}{form}").write_bytes(packed[form])
    words = LABELS["tars"]
    assert made(tmp_path / "packed", "there", *words) == made(same_sources.directory / "tars", "here", *words)
    command = ("shards", "--source", tmp_path / "packed", "--out", tmp_path / "val", "--split", "val", *words)
    assert "give the classes with --classes, or make train too" in prep(*command, status=1).stderr
    made(tmp_path / "packed", "train", *words, "--split", "train")
    prep(*command[:3], "--out", tmp_path / "train", *command[5:], "--num-shards", 2)  # its classes are known by now
    assert {name: content for name, content in digests(tmp_path / "train").items() if name[0] != "_"} == {
        name: content for name, content in digests(tmp_path / "here").items() if name[0] != "_"
    }


def test_a_bucket_that_hides_what_it_denies(s3: Any, tmp_path: Path) -> None:
    """It answers the same for what is missing as for what this user may not read: the line names both."""
    with pytest.raises(SourceError, match=r"no ImageNet source there; [^;]*$"):
        mirrored(f"{s3.url}/photos", tmp_path / "out", "auto", "all")
    s3.proxy.fail("* *", "403")
    with pytest.raises(SourceError, match=r"no ImageNet source there; .*; or not for you: .*check the keys") as raised:
        mirrored(f"{s3.url}/photos", tmp_path / "out", "auto", "all")
    assert "\n" not in str(raised.value)


def test_what_is_not_there(tmp_path: Path, plain_server: Callable[..., Any]) -> None:
    (tmp_path / "empty").mkdir()
    address = f"http://127.0.0.1:{plain_server(tmp_path / 'empty').port}"
    with pytest.raises(
        SourceError, match=r"no ImageNet source there; expected ILSVRC2010_images_train\.tar or .*, or \.gz"
    ):
        mirrored(address, tmp_path / "out", "auto", "all")
    with pytest.raises(
        SourceError, match=r"expected parquet files or webdataset tars; a web server need not list what"
    ):
        mirrored(address, tmp_path / "out", "parquet", "all")
    for pattern, line in (
        ("train-{0..1}.tar", r"train-0.tar: not there \(404"),
        ("train-*.parquet", "nothing there matches this glob"),
        ("a.zip", "no ImageNet source there"),
        ("{a,b}.tar", "unreadable shard pattern"),
    ):
        with pytest.raises(SourceError, match=line):
            mirrored(f"{address}/{pattern}", tmp_path / "out", "auto", "all")
    with pytest.raises(SourceError, match="has the same name; expected files of different names"):
        mirrored(f"{address}/a/x.tar\n{address}/b/x.tar", tmp_path / "out", "auto", "all")
    with pytest.raises(SourceError, match=r"expected a .tar, .tar.gz, .tar.zst or .parquet file"):
        mirrored(f"{address}/a/x.tar\n{address}/b/x.zip", tmp_path / "out", "auto", "all")
    assert mirrored(tmp_path, tmp_path / "out", "auto", "all") == tmp_path


def test_damaged_archives_are_one_line(small_source: Any, tmp_path: Path, prep: Any) -> None:
    path = small_source.directory / "ILSVRC2010_images_train.tar"
    packed = gzip.compress(path.read_bytes())
    path.with_name(path.name + ".gz").write_bytes(packed[: len(packed) // 2])
    path.unlink()
    done = prep("shards", "--source", small_source.directory, "--out", tmp_path / "out", "--split", "train", status=1)
    assert "the gzip data end early" in done.stderr.splitlines()[-1]
    assert json.dumps(sorted(digests(tmp_path / "out"))) == "[]"
