"""Streamed tars are what the standard library writes of the same members."""

import io
import tarfile

import pytest

from alexnet_drawn.tarwrite import MTIME, directory_header, end_tar, file_header, write_member


def expected(members: list[tuple[str, bytes]]) -> bytes:
    """The same archive by tarfile."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        folder = tarfile.TarInfo("val")
        folder.type, folder.mode, folder.mtime = tarfile.DIRTYPE, 0o755, MTIME
        archive.addfile(folder)
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.mtime = len(content), 0o644, MTIME
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize("sizes", [[], [0], [1, 511, 512, 513], [9000, 1200, 77]])
def test_bytes_equal_tarfiles(sizes: list[int]) -> None:
    members = [(f"val/{number}.JPEG", bytes([number]) * size) for number, size in enumerate(sizes)]
    ours = io.BytesIO()
    size = ours.write(directory_header("val"))
    size += sum(write_member(ours, name, content) for name, content in members)
    assert end_tar(ours, size) == len(ours.getvalue())
    assert ours.getvalue() == expected(members)
    assert len(file_header("a", 3)) == 512
