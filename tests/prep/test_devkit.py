"""The devkit reader against the real devkit's known facts, and its refusals."""

import io
import os
import signal
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import loadmat

from alexnet_prep.devkit import parse_ids, parse_meta, read_devkit, read_ids
from alexnet_prep.errors import RunError, SourceError


def test_the_real_devkit(data_dir: Path) -> None:
    devkit = read_devkit(data_dir / "ilsvrc2010" / "ILSVRC2010_devkit-1.0.tar.gz", "2010")
    assert len(devkit.classes) == 1000
    assert [c.official_id for c in devkit.classes] == list(range(1, 1001))
    assert sum(c.num_train_images for c in devkit.classes) == 1_261_406
    by_wnid = {c.wnid: c for c in devkit.classes}
    assert by_wnid["n12075151"].num_train_images == 668 == min(c.num_train_images for c in devkit.classes)
    assert by_wnid["n02094433"].num_train_images == 3047 == max(c.num_train_images for c in devkit.classes)
    # the published labels of validation images 1 to 5
    assert devkit.val_ids[:5].tolist() == [78, 854, 435, 541, 973]
    wnids = [devkit.classes[number - 1].wnid for number in devkit.val_ids[:5]]
    assert wnids == ["n09428293", "n02871525", "n02119789", "n04141975", "n03000247"]
    assert len(devkit.val_ids) == 50_000


def test_a_devkit_of_another_year_is_refused(data_dir: Path) -> None:
    with pytest.raises(SourceError, match="ILSVRC2012_validation_ground_truth.txt"):
        read_devkit(data_dir / "ilsvrc2010" / "ILSVRC2010_devkit-1.0.tar.gz", "2012")


def test_unreadable_devkits_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "devkit.tar.gz"
    with pytest.raises(SourceError, match="unreadable devkit"):
        read_devkit(path, "2010")
    path.write_bytes(b"not a tar at all")
    with pytest.raises(SourceError, match="unreadable devkit"):
        read_devkit(path, "2010")
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("data/readme.txt")
        archive.addfile(info, io.BytesIO(b""))
    with pytest.raises(SourceError, match="holds no meta.mat"):
        read_devkit(path, "2010")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no label"),
        (b"1\n2\nx\n", "line 3 is 'x'"),
        (b"1\n0\n", "line 2"),
        (b"4\n", r"expected a class ID 1\.\.3"),
    ],
)
def test_bad_ground_truth_names_its_line(content: bytes, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        parse_ids(content, 3, "truth.txt")


def test_ground_truth_file(tmp_path: Path) -> None:
    (tmp_path / "truth.txt").write_bytes(b"3\r\n1\r\n")
    assert read_ids(tmp_path / "truth.txt", 3).tolist() == [3, 1]
    with pytest.raises(SourceError, match="cannot be read"):
        read_ids(tmp_path / "none.txt", 3)


@pytest.fixture(scope="module")
def real_meta(data_dir: Path) -> bytes:
    """meta.mat of the real devkit."""
    with tarfile.open(data_dir / "ilsvrc2010" / "ILSVRC2010_devkit-1.0.tar.gz") as archive:
        file = archive.extractfile("devkit-1.0/data/meta.mat")
        assert file is not None
        return file.read()


def test_ids_with_a_gap_are_refused(meta_mat: Any) -> None:
    rows = [(1, "n00000001", 0, 5), (3, "n00000002", 0, 5)]
    with pytest.raises(SourceError, match="not 1..2"):
        parse_meta(meta_mat(rows), "2010", "meta.mat")
    rows = [(1, "n00000001", 0, 5), (2, "n00000001", 0, 5)]
    with pytest.raises(SourceError, match="twice"):
        parse_meta(meta_mat(rows), "2010", "meta.mat")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_mutated_meta_mat_is_read_or_refused(real_meta: bytes, data: st.DataObject) -> None:
    content = bytearray(real_meta)
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.none(), st.integers(0, len(content))))
    try:
        classes = parse_meta(bytes(content[:cut]), "2010", "meta.mat")
    except SourceError as error:
        assert "\n" not in str(error)
    else:
        assert len(classes) > 0


def test_a_file_that_crashes_its_reader_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alexnet_prep.devkit.loadmat", lambda *_, **__: os.kill(os.getpid(), signal.SIGSEGV))
    with pytest.raises(SourceError, match="meta.mat: not the synsets of ILSVRC2010 .its reader crashed."):
        parse_meta(b"", "2010", "meta.mat")


@pytest.mark.parametrize("kills", [1, 2, 3])
def test_a_killed_reader_is_started_again(
    real_meta: bytes, kills: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill from outside, by an operator or for want of memory, is no fault of the file."""

    def killed_at_first(*arguments: Any, **options: Any) -> Any:
        starts = len(list(tmp_path.iterdir()))
        (tmp_path / str(starts)).touch()
        if starts < kills:
            os.kill(os.getpid(), signal.SIGKILL)
        return loadmat(*arguments, **options)

    monkeypatch.setattr("alexnet_prep.devkit.loadmat", killed_at_first)
    if kills < 3:
        assert len(parse_meta(real_meta, "2010", "meta.mat")) == 1000
    else:
        with pytest.raises(RunError, match=r"^meta.mat: its reader was killed 3 times [^\n]*; start again$"):
            parse_meta(real_meta, "2010", "meta.mat")
