"""The index keeps every field exactly, is memory-mapped, and refuses what it is not."""

import hashlib
import tarfile
from pathlib import Path

import numpy as np
import pytest

from alexnet_shards.errors import FormatError
from alexnet_shards.index import INDEX_DTYPE, IndexRows, check_index, load_index, save_index


def extreme_rows() -> IndexRows:
    return np.array(
        [(0, 0, 0, -1, 0), (2**32 - 1, 2**63, 2**32 - 1, 2**31 - 1, 2**32 - 1), (1, 512, 9, 0, 7)], INDEX_DTYPE
    )


def test_round_trip_is_exact_and_mapped(tmp_path: Path) -> None:
    save_index(tmp_path / "train.index.npy", extreme_rows())
    rows = load_index(tmp_path / "train.index.npy")
    assert isinstance(rows, np.memmap)
    assert rows.dtype == INDEX_DTYPE
    assert rows.tolist() == extreme_rows().tolist()
    assert [path.name for path in tmp_path.iterdir()] == ["train.index.npy"]


def test_a_row_has_24_bytes_and_equal_rows_give_equal_files(tmp_path: Path) -> None:
    assert INDEX_DTYPE.itemsize == 24
    save_index(tmp_path / "a.npy", extreme_rows())
    save_index(tmp_path / "b.npy", extreme_rows().copy())
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def test_no_rows(tmp_path: Path) -> None:
    save_index(tmp_path / "x.npy", np.empty(0, INDEX_DTYPE))
    assert len(load_index(tmp_path / "x.npy")) == 0


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"no index beside the shards; make it with alexnet-prep index"):
        load_index(tmp_path / "train.index.npy")


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.index.npy"
    save_index(path, extreme_rows())
    whole = path.read_bytes()
    for length in [0, 5, 50, len(whole) - 24, len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError, match="unreadable index"):
            load_index(path)


def test_other_arrays_and_versions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.index.npy"
    untitled = np.dtype([("shard", "<u4"), ("offset", "<u8"), ("size", "<u4"), ("label", "<i4"), ("crc32", "<u4")])
    for array in (np.zeros(3), np.zeros(3, untitled), np.zeros((2, 2), INDEX_DTYPE)):
        np.save(path, array)
        with pytest.raises(FormatError, match=r"damaged index \(it holds .* of shape"):
            load_index(path)
    path.write_bytes(b"hello")
    with pytest.raises(FormatError, match="unreadable index"):
        load_index(path)


def test_pickles_are_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "train.index.npy"
    np.save(path, np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(FormatError, match=r"damaged index \(it holds '\|O'"):
        load_index(path)


def test_a_header_is_compared_and_never_evaluated(tmp_path: Path, data_dir: Path) -> None:
    """One byte of a header changed: numpy's own reader ends in tokenize.TokenError."""
    with tarfile.open(data_dir.parent / "cases" / "train" / "index-token.tar") as case:
        member = case.extractfile("index_token/set.index.npy")
        assert member is not None
        (tmp_path / "set.index.npy").write_bytes(member.read())
    with pytest.raises(
        FormatError, match=r"set\.index\.npy: unreadable index \(its header is damaged\); make it again"
    ):
        load_index(tmp_path / "set.index.npy")


def test_the_file_has_the_sha256_that_saving_gives(tmp_path: Path) -> None:
    path = tmp_path / "train.index.npy"
    sha256 = save_index(path, extreme_rows())
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    check_index(path, sha256, tmp_path / "train.manifest.json")
    check_index(path, "", tmp_path / "train.manifest.json")
    save_index(path, extreme_rows()[::-1])
    with pytest.raises(
        FormatError, match=r"train\.index\.npy: its sha256 is .* train\.manifest\.json has .*make it again"
    ):
        check_index(path, sha256, tmp_path / "train.manifest.json")
    with pytest.raises(FormatError, match="cannot be read"):
        check_index(tmp_path, sha256, tmp_path / "train.manifest.json")
