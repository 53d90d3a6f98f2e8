"""A file read here and there: the bytes of the file, whatever breaks, in few requests; none of another file."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alexnet_remote.ranges import LEAST_BYTES, MOST_BYTES, NoRangesError, open_ranged
from alexnet_remote.tries import Patience, RemoteFileMissingError, RemoteFileTroubleError

PATIENCE = Patience(retries=2, first_wait_seconds=0.01, silence_seconds=5)
CONTENT = random.Random(0).randbytes(3_000_001)


@pytest.fixture
def web(fault_server: Callable[..., Any], tmp_path: Path) -> Any:
    (tmp_path / "file").write_bytes(CONTENT)
    return fault_server()


def test_anywhere(web: Any) -> None:
    web.fail("file", "cut", 1)
    web.fail("file", "503", 1)
    with open_ranged(f"{web.url}/file", PATIENCE) as file:
        rng = random.Random(1)
        for _ in range(40):
            start, size = rng.randrange(len(CONTENT) + 10), rng.choice((0, 1, 100, 70_000, 900_000))
            file.seek(start)
            assert file.read(size) == CONTENT[start : start + size]
        file.seek(-5, 2)
        assert file.read() == CONTENT[-5:]
        assert file.read(7) == b""


def test_reads_that_follow_each_other_become_few_requests(web: Any) -> None:
    with open_ranged(f"{web.url}/file", PATIENCE) as file:
        found = b"".join(iter(lambda: file.read(1000), b""))
        assert found == CONTENT
        assert file.requests <= 3 + len(CONTENT) // MOST_BYTES + (MOST_BYTES // LEAST_BYTES).bit_length()


def test_from_s3(s3: Any) -> None:
    s3.files.pipe_file(f"{s3.bucket}/file", CONTENT)
    s3.proxy.fail("GET */file", "reset", 1)
    with open_ranged(f"{s3.url}/file", PATIENCE) as file:
        file.seek(1_000_000)
        assert file.read(500_000) == CONTENT[1_000_000:1_500_000]
        s3.files.pipe_file(f"{s3.bucket}/file", CONTENT[::-1])
        file.seek(10)
        with pytest.raises(RemoteFileTroubleError, match="changed while it was read"):
            file.read(10)


def test_what_cannot_be_read(web: Any, plain_server: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(NoRangesError, match="knows no ranges"):
        open_ranged(f"http://127.0.0.1:{plain_server(tmp_path).port}/file", PATIENCE)
    with pytest.raises(RemoteFileMissingError):
        open_ranged(f"{web.url}/other", PATIENCE)
    with open_ranged(f"{web.url}/file", PATIENCE) as file:
        (tmp_path / "file").write_bytes(CONTENT[:-1])
        with pytest.raises(RemoteFileTroubleError, match="changed while it was read"):
            file.read(10)
