"""Shards made elsewhere get manifest and index once, whoever asks, and are refused where that cannot be done."""

import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import webdataset

from alexnet_shards.adopt import LabelRules, index_shards, read_classes
from alexnet_shards.errors import FormatError
from alexnet_shards.index import load_index
from alexnet_shards.manifest import BUILD_DIRECTORY, ClassFact, load_manifest
from alexnet_shards.shardset import open_shards

Make = Callable[..., str]


def strip(directory: Path) -> None:
    """Leave the tars alone, as they come from elsewhere."""
    for path in directory.iterdir():
        if path.suffix != ".tar":
            path.unlink()


def test_the_same_as_was_there_before(tmp_path: Path, make_shards: Make, caplog: pytest.LogCaptureFixture) -> None:
    pattern = make_shards(tmp_path)
    expected = load_index(tmp_path / "train.index.npy").tolist()
    strip(tmp_path)
    with caplog.at_level(logging.WARNING):
        shards = open_shards([pattern])
        open_shards([pattern])
    assert len(caplog.records) == 1
    assert "no manifest and index of train" in caplog.text
    assert shards.rows.tolist() == expected
    assert [fact.wnid for fact in shards.classes] == ["0", "1", "2", "3", "4", "5", "6"]
    assert load_manifest(tmp_path / "train.manifest.json") == shards.manifest


@pytest.mark.parametrize("pattern", ["%05d.tar", "imagenet_train_%04d.tar", "part%d.tar", "train_%04d.tar.tar"])
def test_shards_of_any_name_that_webdataset_writes(tmp_path: Path, pattern: str) -> None:
    directory = tmp_path / "shards"
    directory.mkdir()
    samples = [{"__key__": f"photo{number}", "jpg": b"\xff\xd8 %d" % number, "cls": number % 3} for number in range(23)]
    with webdataset.ShardWriter(f"{directory}/{pattern}", maxcount=5, verbose=0) as writer:
        for sample in samples:
            writer.write(sample)
    shards = open_shards([f"{directory}/*.tar"])
    assert len(shards.paths) == 5
    assert shards.labels.tolist() == [sample["cls"] for sample in samples]
    assert [shards.key_of(row).rpartition(", ")[2] for row in range(23)] == [sample["__key__"] for sample in samples]
    first = sorted(directory.glob("*.tar"))[0]
    assert open_shards([str(first)]).num_samples == 5


def test_some_shards_adopt_the_whole_split(tmp_path: Path, make_shards: Make) -> None:
    make_shards(tmp_path)
    strip(tmp_path)
    assert open_shards([f"{tmp_path}/train-001.tar"]).num_samples == 5
    assert len(load_manifest(tmp_path / "train.manifest.json").shards) == 3


def test_a_given_class_list(tmp_path: Path, make_shards: Make) -> None:
    make_shards(tmp_path)
    (tmp_path / "classes.txt").write_text("n01 tench, Tinca tinca\n" + "".join(f"n1{label} x\n" for label in range(6)))
    classes = read_classes(tmp_path / "classes.txt")
    assert (classes[0].wnid, classes[0].words, len(classes)) == ("n01", "tench, Tinca tinca", 7)
    strip(tmp_path)
    assert not (tmp_path / "classes.txt").exists()

    def index(facts: Sequence[ClassFact] | None) -> tuple[ClassFact, ...]:
        rules = LabelRules(classes=None if facts is None else tuple(facts), are_needed=False)
        return index_shards([f"{tmp_path}/train-*.tar"], 1, lambda done, total: None, rules).manifest.classes

    assert index(classes) == classes
    with pytest.raises(FormatError, match=r"train-000\.tar: train0006: the label is 6; the list has 6 classes, 0 to 5"):
        index(classes[:6])
    # Indexed again without a list, the names that are known stay.
    assert index(None) == load_manifest(tmp_path / "train.manifest.json").classes == classes


@pytest.mark.parametrize("content", ["", "n01 a\nn01 b\n", None])
def test_bad_class_lists(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "classes.txt").write_text(content)
    with pytest.raises(FormatError, match=r"classes\.txt: .*expected a line"):
        read_classes(tmp_path / "classes.txt")


def test_a_class_list_of_windows_with_tabs(tmp_path: Path) -> None:
    file = tmp_path / "classes.txt"
    file.write_bytes("\ufeffn1\ttench, Tinca tinca\r\n  n2   gold fish \r\nn3\r\n".encode())
    facts = [(fact.wnid, fact.words) for fact in read_classes(file)]
    assert facts == [("n1", "tench, Tinca tinca"), ("n2", "gold fish"), ("n3", "")]


def test_a_split_that_prep_has_not_finished(tmp_path: Path, make_shards: Make) -> None:
    pattern = make_shards(tmp_path)
    strip(tmp_path)
    (tmp_path / BUILD_DIRECTORY / "train").mkdir(parents=True)
    with pytest.raises(FormatError, match="has not finished train"):
        open_shards([pattern])


def test_damage_leaves_nothing(tmp_path: Path, make_shards: Make) -> None:
    pattern = make_shards(tmp_path)
    strip(tmp_path)
    os.truncate(tmp_path / "train-001.tar", 3000)
    with pytest.raises(FormatError, match="train-001.tar"):
        open_shards([pattern])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train-000.tar", "train-001.tar", "train-002.tar"]


OPEN = "import sys; from alexnet_shards.shardset import open_shards; print(open_shards(sys.argv[1:]).num_samples)"


def test_processes_that_ask_at_once(tmp_path: Path, make_shards: Make) -> None:
    """The ranks of a host start together: one makes the index, the others wait and use it."""
    pattern = make_shards(tmp_path)
    strip(tmp_path)
    program = [sys.executable, "-c", OPEN, pattern]
    ranks = [subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(4)]
    results = [rank.communicate(timeout=60) for rank in ranks]
    assert [output for output, _ in results] == [b"21\n"] * 4
    assert sum(b"no manifest and index" in errors for _, errors in results) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user to lose the right to write")
def test_a_directory_that_cannot_be_written(make_shards: Make) -> None:
    with tempfile.TemporaryDirectory() as name:  # directly in the temporary directory, which every user may enter
        directory = Path(name)
        pattern = make_shards(directory)
        strip(directory)
        directory.chmod(0o755)
        check_that_another_user_is_refused(pattern)


def check_that_another_user_is_refused(pattern: str) -> None:
    code = (
        "import os, sys\n"
        "from alexnet_shards.shardset import open_shards\n"
        "from alexnet_shards.errors import FormatError\n"
        "os.setuid(65534)\n"
        "try:\n    open_shards([sys.argv[1]])\nexcept FormatError as error:\n    print(error)"
    )

    done = subprocess.run([sys.executable, "-c", code, pattern], capture_output=True, text=True, check=True)
    assert "cannot be written; run alexnet-prep index where it can" in done.stdout
    assert done.stdout.count("\n") == 1
