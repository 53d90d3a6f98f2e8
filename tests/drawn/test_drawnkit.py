"""The drawn development kit: read by scipy, and of the form of the official one."""

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import loadmat

from alexnet_drawn.drawnkit import DrawnClass, ground_truth, invent_classes, meta_mat, write_devkit
from alexnet_prep.devkit import parse_meta, read_devkit

META_FIELDS = ["WNID", "words", "gloss", "num_children", "children", "wordnet_height", "num_train_images"]
OFFICIAL_META = "devkit-1.0/data/meta.mat"


def invented(count: int, seed: int = 3) -> tuple[DrawnClass, ...]:
    return invent_classes(count, 130, np.random.default_rng(seed))


def load(content: bytes) -> dict[str, Any]:
    return dict(loadmat(io.BytesIO(content), squeeze_me=True, struct_as_record=False))


@pytest.mark.parametrize("edition", ["2010", "2012"])
def test_meta_has_the_official_fields(edition: str) -> None:
    content = meta_mat(edition, invented(10))
    synsets = load(content)["synsets"]
    assert synsets[0]._fieldnames == [f"ILSVRC{edition}_ID", *META_FIELDS]
    assert [getattr(s, f"ILSVRC{edition}_ID") for s in synsets] == list(range(1, 14))
    assert [s.num_children for s in synsets] == [0] * 10 + [2, 7, 3]
    assert [list(np.atleast_1d(s.children)) for s in synsets[10:]] == [[12, 13], [1, 2, 3, 4, 5, 7, 8], [6, 9, 10]]
    assert [s.num_train_images for s in synsets] == [130] * 10 + [0] * 3
    assert synsets[0].words == "horizontal stripes"
    assert content.startswith(b"MATLAB 5.0 MAT-file")


def test_only_2010_has_a_cost_matrix() -> None:
    assert "cost_matrix" not in load(meta_mat("2012", invented(10)))
    cost = load(meta_mat("2010", invented(10)))["cost_matrix"]
    assert (cost.shape, cost.dtype) == ((10, 10), np.uint8)
    assert (cost == cost.T).all()
    assert ((cost == 0) == np.eye(10, dtype=bool)).all()


def test_meta_is_stored_as_the_official_one(data_dir: Path) -> None:
    with tarfile.open(data_dir / "ilsvrc2010" / "ILSVRC2010_devkit-1.0.tar.gz") as archive:
        file = archive.extractfile(OFFICIAL_META)
        assert file is not None
        official = loadmat(io.BytesIO(file.read()))
    drawn = loadmat(io.BytesIO(meta_mat("2010", invented(10))))
    assert list(drawn) == list(official)
    assert drawn["cost_matrix"].dtype == official["cost_matrix"].dtype
    assert drawn["synsets"].dtype == official["synsets"].dtype
    for row, like in ((0, 0), (10, 1000)):
        for name in drawn["synsets"].dtype.names:
            mine, theirs = (
                synsets[k, 0][name] for synsets, k in ((drawn["synsets"], row), (official["synsets"], like))
            )
            assert (mine.dtype.kind, mine.shape) == (theirs.dtype.kind, theirs.shape), name


@pytest.mark.parametrize("count", range(2, 11))
def test_classes_are_the_leaves_and_nowhere_in_wnid_order(count: int) -> None:
    classes = invented(count, seed=count)
    read = parse_meta(meta_mat("2010", classes), "2010", "meta.mat")
    assert [(c.official_id, c.wnid, c.words) for c in read] == [(c.official_id, c.wnid, c.words) for c in classes]
    wnids = [c.wnid for c in classes]
    assert len(set(wnids)) == count
    assert all(wnid != placed for wnid, placed in zip(wnids, sorted(wnids), strict=True))


def test_equal_arguments_give_equal_bytes() -> None:
    first, second = io.BytesIO(), io.BytesIO()
    for file in (first, second):
        write_devkit(file, "2012", invented(5), [1, 5, 3])
    assert first.getvalue() == second.getvalue()


def test_the_archive_reads_back(tmp_path: Path) -> None:
    with (tmp_path / "devkit.tar.gz").open("wb") as file:
        write_devkit(file, "2012", invented(5), [1, 5, 3])
    devkit = read_devkit(tmp_path / "devkit.tar.gz", "2012")
    assert devkit.val_ids.tolist() == [1, 5, 3]
    assert [c.wnid for c in devkit.classes] == [c.wnid for c in invented(5)]
    with tarfile.open(tmp_path / "devkit.tar.gz") as archive:
        assert archive.getnames()[2:] == [
            "ILSVRC2012_devkit_t12/data/meta.mat",
            "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt",
        ]


def test_ground_truth_is_an_id_a_line() -> None:
    assert ground_truth([3, 10, 1]) == b"3\n10\n1\n"
