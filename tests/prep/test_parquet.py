"""Parquet sources: the same shards as of folders, and every row accounted for."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alexnet_prep.errors import SourceError
from alexnet_prep.fields import Fields
from alexnet_prep.identity import content_sample
from alexnet_prep.reader import SourceReader
from alexnet_prep.source import find_source, stamps
from alexnet_prep.split import SplitSource, load_split, save_split


def read(directory: Path, split: str = "train", columns: str = "") -> SplitSource:
    """A split of a source."""
    return find_source(directory, "auto", None, Fields.parse(columns)).read(split, None, lambda _: None)


def pictures(images: SplitSource) -> dict[str, tuple[bytes, int]]:
    """(bytes, label) by key."""
    reader = SourceReader(images.containers, images.sparse, images.image_column)
    found = {}
    try:
        for row in range(len(images)):
            place = images.locations[row]
            where = (int(place["offset"]), int(place["size"]))
            content = reader.read(int(place["container"]), bytes(images.names[row]), *where)
            found[images.key(row)] = (content, int(images.labels[row]))
    finally:
        reader.close()
    return found


def test_the_same_pictures_as_in_folders(same_sources: Any) -> None:
    for split in ("train", "val"):
        folders, parquet = (read(same_sources.directory / name, split) for name in ("folders", "parquet"))
        assert parquet.keys.tolist() == folders.keys.tolist()
        assert pictures(parquet) == pictures(folders)
        assert (parquet.classes, parquet.label_order) == (folders.classes, folders.label_order)
        assert content_sample(parquet) == content_sample(folders)
    assert find_source(same_sources.directory / "parquet", "auto").splits == ("train", "val")


def test_the_same_bytes_of_shards_and_after_a_repair(same_sources: Any, tmp_path: Path, prep: Any) -> None:
    made: dict[str, dict[str, bytes]] = {}
    for name in ("folders", "parquet", "tars"):
        out, more = tmp_path / name, ("--label", "json:label") if name == "tars" else ()
        prep(
            "shards", "--source", same_sources.directory / name, "--out", out, "--workers", 2, "--num-shards", 2, *more
        )
        made[name] = {path.name: path.read_bytes() for path in out.glob("*.*") if path.name[0] != "."}
    for name in ("parquet", "tars"):
        for file, content in made["folders"].items():
            if not file.endswith("manifest.json"):
                assert made[name][file] == content, f"{name}: {file}"
                continue
            mine, theirs = json.loads(made[name][file]), json.loads(content)
            for manifest in (mine, theirs):
                del manifest["source"], manifest["edition"]
                assert manifest["report"].pop("entries") >= manifest["report"]["members"]
                del manifest["report"]["ignored"]
            assert mine == theirs
        if name == "tars":
            continue
        (tmp_path / name / "train-001.tar").write_bytes(b"x")
        shutil.rmtree(tmp_path / name / ".build")
        prep(
            "verify", "--shards", tmp_path / name, "--repair", "--source", same_sources.directory / name, "--workers", 2
        )
        again = {path.name: path.read_bytes() for path in (tmp_path / name).glob("*.*") if path.name[0] != "."}
        assert again == made[name]
    assert {each["key"] for each in json.loads(made["parquet"]["train.manifest.json"])["report"]["dropped"]} != set()


def test_images_are_not_read_for_an_index(tmp_path: Path, write_parquet: Any) -> None:
    path, samples = tmp_path / "train-0.parquet", [(f"{n}.jpg", b"%d" % n * 5000, n % 3) for n in range(9)]
    write_parquet(path, samples, ["a", "b", "c"], compression="NONE", use_dictionary=False)
    content = path.read_bytes()
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(0)
    torn = bytearray(content)
    torn[chunk.data_page_offset : chunk.data_page_offset + 40] = b"\xff" * 40
    path.write_bytes(torn)
    images = read(tmp_path)
    assert images.labels.tolist() == [0, 1, 2] * 3
    assert 0 < int(images.locations["size"][0]) < 20_000
    with pytest.raises(SourceError, match="cannot be read as parquet"):
        pictures(images)


def test_labels_of_every_form(tmp_path: Path, write_parquet: Any) -> None:
    write_parquet(tmp_path / "n/train.parquet", [("a.jpg", b"1", 2), ("b.jpg", b"2", 0), ("c.jpg", b"3", -1)])
    images = read(tmp_path / "n")
    assert [fact.wnid for fact in images.classes] == ["0", "1", "2"]
    assert (images.labels.tolist(), dict(images.account.ignored)) == ([2, 0], {"image without a label": 1})
    write_parquet(tmp_path / "s/train.parquet", [("a.jpg", b"1", "dog"), ("b.jpg", b"2", "cat")])
    write_parquet(tmp_path / "s/validation.parquet", [("c.jpg", b"1", "dog")])
    assert [fact.wnid for fact in read(tmp_path / "s", "val").classes] == ["cat", "dog"]
    assert read(tmp_path / "s", "val").labels.tolist() == [1]
    (tmp_path / "s/LOC_synset_mapping.txt").write_text("n01 dog\nn02 cat\n")
    assert [(fact.wnid, fact.words) for fact in read(tmp_path / "s").classes] == [("n01", "dog"), ("n02", "cat")]
    assert read(tmp_path / "s", "val").labels.tolist() == [0]
    write_parquet(tmp_path / "t/train.parquet", [("a.jpg", b"1", 0)], ["cat", "dog"])
    write_parquet(tmp_path / "t/test.parquet", [("b.jpg", b"1", -1), ("c.jpg", b"1", -1)], ["cat", "dog"])
    test = read(tmp_path / "t", "test")
    assert (test.labels.tolist(), [fact.wnid for fact in test.classes]) == ([-1, -1], ["cat", "dog"])
    write_parquet(tmp_path / "o/train.parquet", [("a.jpg", b"1", 2)], ["cat", "dog"])
    with pytest.raises(SourceError, match=r"o/train.parquet: holds label 2, but its schema names 2 classes"):
        read(tmp_path / "o")
    write_parquet(tmp_path / "m/train.parquet", [("a.jpg", b"1", -5)])
    with pytest.raises(SourceError, match=r"train.parquet: row 0 has label -5; expected a class number"):
        read(tmp_path / "m")


def test_a_split_without_some_class_has_numbers_of_its_own(tmp_path: Path, write_parquet: Any) -> None:
    write_parquet(tmp_path / "train.parquet", [(f"{n}.jpg", b"1", n) for n in range(3)], ["cat", "cow", "dog"])
    write_parquet(tmp_path / "validation.parquet", [("a.jpg", b"1", 1), ("b.jpg", b"2", 0)], ["cat", "dog"])
    assert read(tmp_path, "val").labels.tolist() == [2, 0]
    (tmp_path / "LOC_synset_mapping.txt").write_text(
        "n01 dog\nn02 fox\nn03 cow\nn04 cat\n"
    )  # of more, and in its order
    assert read(tmp_path).labels.tolist() == [3, 2, 0]
    assert read(tmp_path, "val").labels.tolist() == [0, 3]


def test_a_set_that_lies_there_twice_is_told(tmp_path: Path, write_parquet: Any) -> None:
    """As it was uploaded, and as Hugging Face converted it."""
    for name in ("data/train-00000-of-00001.parquet", "train/0000.parquet"):
        write_parquet(tmp_path / name, [(f"{n}.jpg", b"%d" % n, n) for n in range(3)], ["a", "b", "c"])
    images = read(tmp_path)
    line = "train: 3 of 6 images have the class and the name of another: if the set lies there twice, move one away"
    assert (len(images), images.notes) == (6, (line,))


def test_one_column_of_labels_in_all_files(tmp_path: Path) -> None:
    for number, name in enumerate(("label", "wnid")):
        pq.write_table(pa.table({"image": [b"one"], name: ["a"]}), tmp_path / f"train-{number}.parquet")
    with pytest.raises(SourceError, match="labels in label, wnid, by file; name one with --columns label=COLUMN"):
        read(tmp_path)


def test_pictures_without_names(tmp_path: Path) -> None:
    table = pa.table({"image": [b"one", b"two"], "label": [1, 0]})
    pq.write_table(table, tmp_path / "train-00000-of-00001.parquet")
    images = read(tmp_path)
    assert images.keys.tolist() == [b"train-00000-of-00001_000000", b"train-00000-of-00001_000001"]
    assert pictures(images)["train-00000-of-00001_000001"] == (b"two", 0)
    assert read(tmp_path, columns="image=image,label=label").keys.tolist() == images.keys.tolist()


def test_names_that_stand_twice_and_names_that_are_too_long(tmp_path: Path, write_parquet: Any) -> None:
    samples = [("x.jpg", b"1", 0), ("x.jpg", b"2", 0), ("x.jpg", b"3", 1), ("", b"4", 0), (".jpg", b"5", 0)]
    write_parquet(tmp_path / "train-0.parquet", [*samples, ("d/" + "y" * 400 + ".jpg", b"6", 1)])
    found = pictures(read(tmp_path))
    assert sorted(content for content, _ in found.values()) == [b"1", b"2", b"3", b"4", b"5", b"6"]
    assert all(len(key) <= 251 and "." not in key for key in found)
    assert found["1_x"] == (b"3", 1)


def test_what_cannot_be_a_source(tmp_path: Path, write_parquet: Any) -> None:
    write_parquet(tmp_path / "train.parquet", [("a.jpg", b"1", 0)], ["cat"])
    write_parquet(tmp_path / "val.parquet", [("a.jpg", b"1", 0)], ["dog"])
    with pytest.raises(SourceError, match="no devkit order|in its own order"):
        find_source(tmp_path, "auto").read("train", "devkit", lambda _: None)
    with pytest.raises(SourceError, match="--label is for webdataset tars"):
        find_source(tmp_path, "parquet", None, Fields.parse("", "txt")).read("train", None, lambda _: None)
    pq.write_table(pa.table({"image": [b"1"], "caption": ["a"]}), tmp_path / "train.parquet")
    with pytest.raises(SourceError, match=r"no column of labels; there are image \(binary\), caption \(string\)"):
        read(tmp_path)
    write_parquet(tmp_path / "train.parquet", [("a.jpg", b"1", 0)], ["cat", "cat"])
    with pytest.raises(SourceError, match="class names are not distinct"):
        read(tmp_path)


def test_an_index_is_kept(tmp_path: Path, write_parquet: Any) -> None:
    write_parquet(tmp_path / "train.parquet", [("a.jpg", b"1", 0), ("b.jpg", b"2", 1)], ["cat", "dog"])
    source, images = find_source(tmp_path, "auto"), read(tmp_path)
    assert list(stamps(source)) == ["train.parquet"]
    save_split(tmp_path / "kept.npz", images, "k")
    kept = load_split(tmp_path / "kept.npz", "k")
    assert kept is not None
    assert kept.identity() == images.identity()
    assert pictures(kept) == pictures(images)
    assert np.array_equal(kept.locations, images.locations)


def test_without_pyarrow_one_line_says_what_to_install(tmp_path: Path, write_parquet: Any, prep: Any) -> None:
    write_parquet(tmp_path / "train.parquet", [("a.jpg", b"1", 0)], ["cat"])
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden/sitecustomize.py").write_text("import sys\nsys.modules['pyarrow'] = None\n")
    import os

    path = os.pathsep.join(filter(None, (str(tmp_path / "hidden"), os.environ.get("PYTHONPATH", ""))))
    done = prep(
        "shards", "--source", tmp_path, "--out", tmp_path / "o", status=1, env={**os.environ, "PYTHONPATH": path}
    )
    assert "pyarrow" in done.stderr
    assert "pip install '.[parquet]'" in done.stderr
