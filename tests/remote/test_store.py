"""Files of whatever fsspec reads, by the memory that it offers as a store."""

import sys

import fsspec
import pytest

from alexnet_remote.outcome import Head, MissingError
from alexnet_remote.store import store_answer, store_glob, store_size, version_of
from alexnet_shards.errors import AlexnetError


@pytest.fixture
def url() -> str:
    fsspec.filesystem("memory").pipe_file("/set/a-000.tar", b"0123456789")
    return "memory://set/a-000.tar"


@pytest.mark.parametrize("start", [0, 4])
def test_bytes_from_a_place_on(url: str, start: int) -> None:
    head, *pieces = store_answer(url, start, None)
    assert isinstance(head, Head)
    assert (head.size, head.start) == (10, start)
    assert b"".join(piece for piece in pieces if isinstance(piece, bytes)) == b"0123456789"[start:]


def test_sizes_and_globs(url: str) -> None:
    assert store_size(url) == 10
    assert store_glob("memory://set/a-*.tar") == ["memory:///set/a-000.tar"]
    with pytest.raises(MissingError):
        store_size("memory://set/b.tar")


def test_a_version_changes_with_the_content() -> None:
    """As Hugging Face's store answers, an FTP server, and one that tells nothing but the size."""
    assert version_of({"size": 5, "blob_id": "ab"}) != version_of({"size": 5, "blob_id": "cd"})
    assert version_of({"size": 5, "modify": "20260101"}) == "20260101 5"
    assert version_of({"size": 5, "name": "a", "type": "file"}) == ""


def test_a_protocol_that_is_not_installed() -> None:
    with pytest.raises(AlexnetError, match=r"^nothing://x/a\.tar: .*; expected https://, s3://, gs:// or what an"):
        store_size("nothing://x/a.tar")


@pytest.mark.parametrize(("url", "library", "extra"), [("s3://b/a", "s3fs", "s3"), ("gs://b/a", "gcsfs", "gcs")])
def test_a_library_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, url: str, library: str, extra: str) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, url.partition(":")[0], raising=False)
    with pytest.raises(AlexnetError, match=rf"^{url}: {library} is not installed; pip install '\.\[{extra}\]'"):
        store_size(url)
