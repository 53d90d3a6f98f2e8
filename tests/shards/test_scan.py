"""scan against the tarfile module, and everything that can be wrong with a shard made elsewhere."""

import hashlib
import io
import os
import signal
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st

from alexnet_shards.errors import FormatError, WorkerError
from alexnet_shards.index import INDEX_DTYPE, NO_LABEL
from alexnet_shards.manifest import ShardFact
from alexnet_shards.scan import scan_shard, scan_shards

Members = Sequence[tuple[str, bytes]]


def write_tar(path: Path, members: Members, tar_format: int = tarfile.GNU_FORMAT) -> Path:
    with tarfile.open(path, "w", format=tar_format) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def samples(count: int, seed: int = 0, prefix: str = "n") -> list[tuple[str, bytes]]:
    rng = np.random.default_rng(seed)
    members = []
    for number in range(count):
        members.append((f"{prefix}{number:04d}.jpg", rng.bytes(int(rng.integers(0, 3000)))))
        members.append((f"{prefix}{number:04d}.cls", str(int(rng.integers(0, 1000))).encode()))
    return members


def reference_rows(path: Path, number: int) -> list[tuple[int, int, int, int, int]]:
    """Rows by the tarfile module."""
    with tarfile.open(path) as archive:
        content = {member.name: (member, archive.extractfile(member).read()) for member in archive if member.isfile()}  # type: ignore[union-attr]
    rows = []
    for name, (member, jpeg) in content.items():
        stem, _, suffix = name.rpartition(".")
        if suffix in ("jpg", "jpeg"):
            label = int(content[stem + ".cls"][1]) if stem + ".cls" in content else NO_LABEL
            rows.append((number, member.offset_data, member.size, label, zlib.crc32(jpeg)))
    return rows


@pytest.mark.parametrize("tar_format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize("prefix", ["n", "a/directory/n", "d" * 90 + "/" + "k" * 70])
def test_rows_equal_those_of_tarfile(tmp_path: Path, tar_format: int, prefix: str) -> None:
    path = write_tar(tmp_path / "train-000.tar", samples(40, prefix=prefix), tar_format)
    scan = scan_shard(path, 7)
    assert scan.rows.dtype == INDEX_DTYPE
    assert scan.rows.tolist() == reference_rows(path, 7)
    assert scan.keys == tuple(f"{prefix}{number:04d}" for number in range(40))
    assert (scan.fact.name, scan.fact.samples, scan.fact.bytes) == ("train-000.tar", 40, path.stat().st_size)
    assert scan.fact.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 2000), min_size=1, max_size=12),
    stem=st.text(st.characters(codec="utf-8", exclude_characters="./\0"), min_size=1, max_size=150),
    tar_format=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_any_name_and_size(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], stem: str, tar_format: int
) -> None:
    members = [(f"{stem}{i}.jpg", bytes([i]) * size) for i, size in enumerate(sizes)]
    path = write_tar(tmp_path_factory.mktemp("scan") / "x-0.tar", members, tar_format)
    assert scan_shard(path).rows.tolist() == reference_rows(path, 0)


def test_webdataset_writer(tmp_path: Path) -> None:
    path = tmp_path / "train-000.tar"
    with webdataset.TarWriter(str(path)) as writer:
        for number in range(20):
            writer.write({"__key__": f"k{number}", "jpg": bytes([number]) * 700, "cls": number})
    scan = scan_shard(path)
    assert scan.rows["label"].tolist() == list(range(20))
    assert scan.rows["crc32"].tolist() == [zlib.crc32(bytes([number]) * 700) for number in range(20)]


def test_other_members_and_suffixes(tmp_path: Path) -> None:
    members = [
        ("a.JPEG", b"1"),
        ("a.json", b"{}"),
        ("README", b"x"),
        ("b.cls", b" 12\n"),
        ("b.jpg", b"2"),
        (".c.jpg", b"3"),
    ]
    scan = scan_shard(write_tar(tmp_path / "s-0.tar", members))
    assert scan.keys == ("a", "b")
    assert scan.rows["label"].tolist() == [NO_LABEL, 12]


def test_parallel_equals_serial(tmp_path: Path) -> None:
    paths = [write_tar(tmp_path / f"train-{number:03d}.tar", samples(9 + number, number)) for number in range(5)]
    seen: list[str] = []
    parallel = scan_shards(paths, 3, lambda fact: seen.append(fact.name))
    serial = scan_shards(paths)
    assert (
        parallel.rows.tolist()
        == serial.rows.tolist()
        == [row for i, path in enumerate(paths) for row in reference_rows(path, i)]
    )
    assert parallel.facts == serial.facts
    assert seen == [path.name for path in paths]


@pytest.mark.parametrize("workers", [1, 2])
def test_the_first_bad_shard_is_named(tmp_path: Path, workers: int) -> None:
    paths = [write_tar(tmp_path / f"train-{number:03d}.tar", samples(5)) for number in range(5)]
    for number in (3, 1):
        paths[number].write_bytes(paths[number].read_bytes()[:1000])
    with pytest.raises(FormatError, match="train-001.tar"):
        scan_shards(paths, workers)


def test_a_killed_worker_is_one_line(tmp_path: Path) -> None:
    """The kernel kills a process that is out of memory; here the test does, once the first shard is in."""
    paths = [write_tar(tmp_path / f"train-{number:03d}.tar", samples(5)) for number in range(400)]

    def kill(fact: ShardFact) -> None:
        if fact.name == "train-000.tar":
            for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
                os.kill(int(child), signal.SIGKILL)

    with pytest.raises(WorkerError, match=f"^{tmp_path}: a worker was killed .*fewer --workers$"):
        scan_shards(paths, 2, kill)


@pytest.mark.parametrize("member", [0, 1, 17])
def test_damaged_header_names_shard_and_byte(tmp_path: Path, member: int) -> None:
    path = write_tar(tmp_path / "train-000.tar", samples(10))
    with tarfile.open(path) as archive:
        offset = archive.getmembers()[member].offset
    content = bytearray(path.read_bytes())
    content[offset + 3] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(FormatError, match=rf"train-000\.tar: byte {offset}: .*checksum"):
        scan_shard(path)


def test_truncation_anywhere_is_found(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "whole.tar", samples(6)).read_bytes()
    end = scan_end(whole)
    path = tmp_path / "train-000.tar"
    for length in [1, 100, 511, 512, 600, *range(1024, end, 777), end - 1, end]:
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError, match=r"train-000\.tar: .*(truncated|not a tar header)"):
            scan_shard(path)
    path.write_bytes(whole[: end + 1024])
    assert len(scan_shard(path).rows) == 6


def scan_end(whole: bytes) -> int:
    """Where the last member ends and the end mark begins."""
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        last = archive.getmembers()[-1]
    return last.offset_data + -(-last.size // 512) * 512


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "no KEY.jpg"),
        ([("a.png", b"x"), ("a.cls", b"1")], "like a.png"),
        ([("a.jpg", b"x"), ("b.jpg", b"y"), ("a.jpg", b"z")], "second image of key a"),
        ([("a.jpg", b"x"), ("a.cls", b"1"), ("a.cls", b"1")], "second label of key a"),
        ([("a.jpg", b"x"), ("b.cls", b"1")], "b.cls has no b.jpg"),
        ([("a.jpg", b"x"), ("a.cls", b"cat")], "'cat'"),
        ([("a.jpg", b"x"), ("a.cls", b"-1")], "'-1'"),
        ([("a.jpg", b"x"), ("a.cls", b"")], "''"),
        ([("a.jpg", b"x"), ("a.cls", b"99999999999")], "'99999999999'"),
    ],
)
def test_refused(tmp_path: Path, members: Members, message: str) -> None:
    path = write_tar(tmp_path / "train-000.tar", members)
    with pytest.raises(FormatError, match=message) as error:
        scan_shard(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"not a tar" * 200, b"\x1f\x8b" + bytes(2000)])
def test_not_a_tar(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "train-000.tar"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"train-000\.tar"):
        scan_shard(path)
