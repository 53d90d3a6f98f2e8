"""Files of a tar found from any border: every one of them in one stretch, whatever is cut."""

import io
import os
import random
import tarfile
from collections.abc import Sequence

import pytest

from alexnet_shards.tar import walk_tar
from alexnet_shards.tarblocks import StretchFile, files_between

RNG = random.Random(0)


def make_tar(members: Sequence[tuple[str, bytes]], tar_format: int) -> bytes:
    """A tar as the standard library writes it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def members(prefix: str, count: int) -> list[tuple[str, bytes]]:
    """Files of random bytes, of which some have names that need headers of their own."""
    return [
        (f"{prefix}/{'long' * 40 if n % 4 == 1 else 'n'}{n}.JPEG", RNG.randbytes(RNG.randint(0, 5000)))
        for n in range(count)
    ]


@pytest.mark.parametrize("tar_format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_stretches_find_what_a_walk_finds(tar_format: int) -> None:
    count = 9 if tar_format != tarfile.USTAR_FORMAT else 1
    content = make_tar(members("val", count), tar_format)

    def read_at(offset: int, size: int) -> bytes:
        return content[offset : offset + size]

    wanted = {(m.offset, m.size) for m in walk_tar(read_at, 0, len(content), "x.tar") if m.is_file}
    for step in (512, 4096, 1 << 20):
        found: list[StretchFile] = []
        for start in range(0, len(content), step):
            found += files_between(read_at, start, min(start + step, len(content)), lambda *_: None)
        assert [(file.offset, file.size) for file in found] == sorted(wanted)
    whole = list(files_between(read_at, 0, len(content), lambda *_: None))
    assert {file.name for file in whole} == {m.name for m in walk_tar(read_at, 0, len(content), "x.tar") if m.is_file}


def test_tars_inside_a_tar_and_what_is_taken_down() -> None:
    inner = [(f"n{n}.tar", make_tar(members("", 3), tarfile.GNU_FORMAT)) for n in range(3)]
    content = make_tar(inner, tarfile.GNU_FORMAT)
    taken = bytearray(content)

    def read_at(offset: int, size: int) -> bytes:
        return content[offset : offset + size]

    def take(offset: int, noted: bytes) -> None:
        assert content[offset : offset + len(noted)] == noted
        taken[offset : offset + len(noted)] = bytes(len(noted))

    files = list(files_between(read_at, 0, len(content), take))
    assert len(files) == 9
    left = b"".join(content[file.offset : file.offset + file.size] for file in files)
    assert bytes(taken).replace(b"\0", b"") == left.replace(b"\0", b"")


def test_noise_is_no_tar_and_no_error() -> None:
    noise = os.urandom(1 << 16)
    assert list(files_between(lambda offset, size: noise[offset : offset + size], 0, len(noise), lambda *_: None)) == []
