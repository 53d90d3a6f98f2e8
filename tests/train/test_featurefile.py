"""The file of features: what numpy reads, rows that are there, damage, and folders."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from alexnet_shards import AlexnetError, FormatError
from alexnet_shards.files import file_sha256
from alexnet_train.featurefile import FeatureFile, folder_of, spans


@pytest.fixture
def file(tmp_path: Path) -> FeatureFile:
    return FeatureFile(
        directory=tmp_path, split="train", rows=1000, columns=8, checkpoint_sha256="a" * 64, index_sha256="b" * 64
    )


def test_rows_are_where_numpy_has_them_and_the_rest_takes_no_disk(file: FeatureFile) -> None:
    file.create()
    done = file.done()
    rows = np.array([0, 1, 2, 500, 999])
    values = np.arange(40, dtype=np.float16).reshape(5, 8)
    file.write(rows, values, done)
    assert np.flatnonzero(file.done()).tolist() == rows.tolist()
    loaded = np.load(file.path)
    assert (loaded.shape, loaded.dtype) == ((1000, 8), np.float16)
    assert np.array_equal(loaded[rows], values)
    assert not loaded[3:500].any()
    assert np.array_equal(file.mapped()[rows], values)
    file.create()
    assert np.array_equal(np.load(file.path), loaded), "what is there stays"


def test_what_is_damaged_or_of_something_else_counts_as_not_there(file: FeatureFile) -> None:
    assert not file.done().any()
    file.create()
    done = np.zeros(1000, bool)
    file.write(np.array([5]), np.ones((1, 8), np.float16), done)
    kept = file.done_path.read_bytes()
    file.done_path.write_bytes(kept[:100])
    assert not file.done().any()
    np.savez(file.done_path, done=np.full(125, 255, np.uint8), checkpoint_sha256="c" * 64, index_sha256="b" * 64)
    assert not file.done().any()
    file.done_path.write_bytes(kept)
    assert file.done().sum() == 1
    file.path.write_bytes(file.path.read_bytes()[:-2])
    assert not file.done().any()
    with pytest.raises(FormatError, match="damaged features"):
        file.mapped()
    file.create()
    assert file.mapped().shape == (1000, 8)


def test_rows_of_a_file_that_is_gone_are_not_those_of_the_next(file: FeatureFile) -> None:
    file.create()
    file.write(np.array([5]), np.ones((1, 8), np.float16), np.zeros(1000, bool))
    file.path.unlink()
    file.create()
    assert not file.done().any()


def test_folders_and_sums(tmp_path: Path) -> None:
    here = SimpleNamespace(paths=(str(tmp_path / "train-000.tar"),))
    assert folder_of(here, None) == tmp_path  # type: ignore[arg-type]
    assert folder_of(here, Path("x")) == Path("x")  # type: ignore[arg-type]
    with pytest.raises(AlexnetError, match="--features DIR"):
        folder_of(SimpleNamespace(paths=("s3://bucket/train-000.tar",)), None)  # type: ignore[arg-type]
    (tmp_path / "f").write_bytes(b"abc")
    assert file_sha256(tmp_path / "f").startswith("ba7816bf8f01cfea")
    assert [part.tolist() for part in spans([1, 2, 3], 2)] == [[1, 2], [3]]
