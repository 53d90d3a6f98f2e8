"""The header walk against the standard library's tarfile, on all it writes and on mutations of it."""

import io
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alexnet_shards.errors import FormatError
from alexnet_shards.tar import END_OF_TAR, TRAILING, TarMember, member_bytes, walk_tar
from alexnet_shards.tarblocks import files_between


def walk(content: bytes) -> list[TarMember]:
    """Members of a tar in memory."""
    return list(walk_tar(lambda offset, size: content[offset : offset + size], 0, len(content), "x.tar"))


def written(names: Sequence[tuple[str, bytes]], form: int) -> bytes:
    """A tar by the standard library, with a directory and a link among the files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, content in names:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "folder"
        archive.addfile(link)
    return buffer.getvalue()


NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=250
)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@settings(max_examples=60, deadline=None)
@given(members=st.lists(st.tuples(NAMES, st.binary(max_size=2000)), max_size=5))
def test_members_equal_tarfiles(form: int, members: list[tuple[str, bytes]]) -> None:
    if form == tarfile.USTAR_FORMAT:
        members = [(f"d{number}/" + "n" * (number * 22), content) for number, (_, content) in enumerate(members)]
    content = written(members, form)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        expected = [(info.name, info.offset_data, info.size, info.isfile()) for info in archive]
    found = [(member.name.rstrip("/"), member.offset, member.size, member.is_file) for member in walk(content)]
    assert [(name.rstrip("/"), *rest) for name, *rest in expected] == found


def test_what_we_write_tarfile_reads() -> None:
    names = ["short.jpg", "k" * 99 + ".jpg", "k" * 180 + ".jpg", "ünïcode.cls"]
    content = b"".join(member_bytes(name, name.encode() * 7) for name in names) + END_OF_TAR
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        assert archive.getnames() == names
        for info in archive:
            file = archive.extractfile(info)
            assert file is not None
            assert file.read() == info.name.encode() * 7
            assert (info.mtime, info.uid, info.gid, info.mode) == (0, 0, 0, 0o644)
    assert [member.name for member in walk(content)] == names


def test_a_size_in_base_256_is_read() -> None:
    info = tarfile.TarInfo("large")
    info.size = 9 << 30
    header = info.tobuf(tarfile.GNU_FORMAT)
    with pytest.raises(FormatError, match=f"needs {9 << 30} bytes"):
        walk(header + END_OF_TAR)


@pytest.mark.parametrize("cut", [0, 1, 511, 512, 600, 1023, 1024, 1536])
def test_every_cut_is_loud(cut: int) -> None:
    content = member_bytes("a", b"x" * 700) + END_OF_TAR
    if cut < len(content) - 1024:
        with pytest.raises(FormatError, match="truncated"):
            walk(content[:cut])
    assert len(walk(content)) == 1


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_a_mutated_tar_is_read_or_refused(data: st.DataObject) -> None:
    content = bytearray(written([("a.jpg", b"x" * 700), ("b" * 150, b"y")], data.draw(st.sampled_from([1, 2]))))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.none(), st.integers(0, len(content))))
    try:
        members = walk(bytes(content[:cut]))
    except FormatError as error:
        assert "\n" not in str(error)
        assert str(error).startswith("x.tar: ")
    else:
        assert all(member.offset + member.size <= len(content) for member in members)


def test_archives_joined_end_to_end_are_read_on() -> None:
    first, second = written([("a.jpg", b"x" * 700)], tarfile.GNU_FORMAT), written([("b.jpg", b"y")], tarfile.PAX_FORMAT)
    names = [member.name for member in walk(first + second + first) if member.is_file]
    assert names == ["a.jpg", "b.jpg", "a.jpg"]
    found = walk(first + second)[2]
    assert (first + second)[found.offset : found.offset + found.size] == b"y"


@pytest.mark.parametrize("size", [1, 511, 512, 700, 3 << 20])
def test_bytes_behind_the_end_mark_are_named_with_their_size(size: int) -> None:
    content = member_bytes("a.jpg", b"x" * 700) + END_OF_TAR
    junk = b"\x17" * size
    last = walk(content + bytes(1 << 21) + junk)[-1]
    assert (last.kind, last.is_file, last.size) == (TRAILING, False, size)
    assert last.offset == len(content) + (1 << 21)
    assert [member.name for member in walk(content + bytes(size))] == ["a.jpg"]


def test_a_joined_archive_that_is_cut_is_loud() -> None:
    first = member_bytes("a.jpg", b"x") + END_OF_TAR
    with pytest.raises(FormatError, match="truncated"):
        walk(first + member_bytes("b.jpg", b"x" * 700)[:-512])


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    subprocess.run(["mkfifo", tmp_path / "pipe"], check=True)
    (tmp_path / "folder").mkdir()
    subprocess.run(["tar", "-cf", tmp_path / "x.tar", "-C", tmp_path, "pipe", "folder", "-V", "label"], check=True)
    kinds = [(member.kind, member.is_file) for member in walk((tmp_path / "x.tar").read_bytes())]
    assert kinds == [("entry of type 'V'", False), ("pipe", False), ("folder", False)]


@pytest.mark.parametrize("key", ["path", "size", "linkpath"])
def test_a_global_header_that_names_every_member_is_refused(key: str) -> None:
    header = tarfile.TarInfo.create_pax_global_header({key: "7"})
    with pytest.raises(FormatError, match="all members one name or size"):
        walk(header + END_OF_TAR)
    assert walk(tarfile.TarInfo.create_pax_global_header({"comment": "by git"}) + END_OF_TAR) == []


def test_names_of_solaris_are_whole() -> None:
    """Its tar writes pax records in a header of a type of its own."""
    content = bytearray(written([("d/" + "x" * 200 + ".jpg", b"1")], tarfile.PAX_FORMAT))
    assert content[156:157] == b"x"
    content[156:157] = b"X"
    content[148:156] = b"%06o\0 " % (int(content[148:154], 8) - ord("x") + ord("X"))
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        names = [member.name for member in archive if member.isfile()]
    assert [member.name for member in walk(bytes(content)) if member.is_file] == names == ["d/" + "x" * 200 + ".jpg"]
    found = files_between(lambda offset, size: bytes(content[offset : offset + size]), 0, len(content), lambda *_: None)
    assert [file.name for file in found] == names


def test_a_pax_size_is_of_files_alone() -> None:
    info = tarfile.TarInfo("folder")
    info.type, info.pax_headers = tarfile.DIRTYPE, {"size": "512"}
    content = info.tobuf(tarfile.PAX_FORMAT) + member_bytes("a.jpg", b"x") + END_OF_TAR
    assert [member.name for member in walk(content)] == ["folder/", "a.jpg"]


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_name_of_a_mebibyte(form: int) -> None:
    with pytest.raises(FormatError, match="a name of 1,000,000 bytes"):
        walk(written([("n" * 1_000_000, b"x")], form))
