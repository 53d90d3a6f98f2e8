"""A drawn source: the official layout, read back with tarfile and Pillow; the same bytes every time."""

import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from alexnet_drawn.errors import DrawError
from alexnet_drawn.odd import UNDECODABLE
from alexnet_drawn.sample import SampleFacts, SampleRequest, draw_source
from alexnet_prep.devkit import read_devkit
from alexnet_shards.errors import FileError

Files = dict[str, bytes]
SIZES: dict[str, Any] = {"classes": 4, "train_per_class": 12, "val_per_class": 5, "test_per_class": 3, "seed": 11}


def silent(_done: int, _total: int) -> None:
    return


@pytest.fixture(scope="module")
def drawn_2010(tmp_path_factory: pytest.TempPathFactory) -> SampleFacts:
    return draw_source(SampleRequest(directory=tmp_path_factory.mktemp("drawn") / "2010", **SIZES), silent)


@pytest.fixture(scope="module")
def drawn_2012(tmp_path_factory: pytest.TempPathFactory) -> SampleFacts:
    request = SampleRequest(directory=tmp_path_factory.mktemp("drawn") / "2012", edition="2012", **SIZES)
    return draw_source(request, silent)


def read_tar(content: bytes | Path) -> Files:
    """Name -> bytes of every member in order; a directory ends in a slash."""
    raw = content.read_bytes() if isinstance(content, Path) else content
    found: Files = {}
    with tarfile.open(fileobj=io.BytesIO(raw), mode="r:*") as archive:
        for info in archive:
            file = archive.extractfile(info)
            found[info.name + "/" * info.isdir()] = file.read() if file is not None else b""
    return found


def hashes(directory: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(directory.iterdir())}


def train_images(facts: SampleFacts, name: str) -> dict[str, Files]:
    return {tar[:9]: read_tar(content) for tar, content in read_tar(facts.directory / name).items()}


def test_files_of_2010(drawn_2010: SampleFacts) -> None:
    assert set(hashes(drawn_2010.directory)) == {
        "ILSVRC2010_images_train.tar",
        "ILSVRC2010_images_val.tar",
        "ILSVRC2010_images_test.tar",
        "ILSVRC2010_devkit-1.0.tar.gz",
        "ILSVRC2010_test_ground_truth.txt",
        "patch_images.tar",
        "sample.json",
    }
    assert list(read_tar(drawn_2010.directory / "ILSVRC2010_devkit-1.0.tar.gz")) == [
        "devkit-1.0/",
        "devkit-1.0/data/",
        "devkit-1.0/data/meta.mat",
        "devkit-1.0/data/ILSVRC2010_validation_ground_truth.txt",
    ]
    devkit = read_devkit(drawn_2010.directory / "ILSVRC2010_devkit-1.0.tar.gz", "2010")
    assert [vars(c) for c in devkit.classes] == drawn_2010.classes
    assert [c.num_train_images for c in devkit.classes] == [12] * 4


def test_files_of_2012(drawn_2012: SampleFacts) -> None:
    assert set(hashes(drawn_2012.directory)) == {
        "ILSVRC2012_img_train.tar",
        "ILSVRC2012_img_val.tar",
        "ILSVRC2012_img_test_v10102019.tar",
        "ILSVRC2012_devkit_t12.tar.gz",
        "sample.json",
    }
    val = list(read_tar(drawn_2012.directory / "ILSVRC2012_img_val.tar"))
    assert sorted(val) == [f"ILSVRC2012_val_{k:08d}.JPEG" for k in range(1, 21)]
    test = list(read_tar(drawn_2012.directory / "ILSVRC2012_img_test_v10102019.tar"))
    assert sorted(test) == ["test/", *(f"test/ILSVRC2012_test_{k:08d}.JPEG" for k in range(1, 13))]
    assert not any("unavailable" in kinds for kinds in drawn_2012.odd.values())
    assert len(train_images(drawn_2012, "ILSVRC2012_img_train.tar")) == 4


def test_train_tar_holds_class_tars_not_in_name_order(drawn_2010: SampleFacts) -> None:
    outer = read_tar(drawn_2010.directory / "ILSVRC2010_images_train.tar")
    assert list(outer) != sorted(outer)
    assert sorted(outer) == sorted(f"{c['wnid']}.tar" for c in drawn_2010.classes)
    for tar, content in outer.items():
        assert len(content) % 10240 == 0
        names = [name for name in read_tar(content) if not name.startswith(".")]
        assert len(names) == 12
        assert all(name.startswith(tar[:9] + "_") and name.endswith(".JPEG") for name in names)


@pytest.mark.parametrize("split", ["val", "test"])
def test_val_and_test_have_a_directory_and_no_order(split: str, drawn_2010: SampleFacts) -> None:
    first, *names = read_tar(drawn_2010.directory / f"ILSVRC2010_images_{split}.tar")
    assert first == f"{split}/"
    assert names != sorted(names)
    count = {"val": 20, "test": 12}[split]
    assert sorted(names) == [f"{split}/ILSVRC2010_{split}_{k:08d}.JPEG" for k in range(1, count + 1)]
    assert drawn_2010.members[split] == count


def test_ground_truth_is_the_class_that_was_drawn(drawn_2010: SampleFacts) -> None:
    devkit = read_tar(drawn_2010.directory / "ILSVRC2010_devkit-1.0.tar.gz")
    val = devkit["devkit-1.0/data/ILSVRC2010_validation_ground_truth.txt"].split()
    test = (drawn_2010.directory / "ILSVRC2010_test_ground_truth.txt").read_text().split()
    assert sorted(map(int, val)) == sorted([1, 2, 3, 4] * 5)
    assert sorted(map(int, test)) == sorted([1, 2, 3, 4] * 3)
    images = read_tar(drawn_2010.directory / "ILSVRC2010_images_val.tar")
    patches = read_tar(drawn_2010.directory / "patch_images.tar")
    right = 0
    for number, label in enumerate(val, 1):
        name = f"val/ILSVRC2010_val_{number:08d}.JPEG"
        content = patches.get(f"patch_images/{name}", images[name])
        right += stripes_of(content) == {1: "horizontal", 2: "vertical"}.get(int(label), "both")
    assert right >= 18


def stripes_of(content: bytes) -> str:
    """Whether brightness changes along columns, rows or both: classes 1, 2 and the rest."""
    gray = np.asarray(Image.open(io.BytesIO(content)).convert("RGB").convert("L").resize((128, 128)), np.float32)
    down, right = (float(np.square(gray[2:] - gray[:-2]).mean()), float(np.square(gray[:, 2:] - gray[:, :-2]).mean()))
    return "horizontal" if down > 4 * right else "vertical" if right > 4 * down else "both"


def test_odd_files_are_what_the_facts_say(drawn_2010: SampleFacts) -> None:
    by_class = train_images(drawn_2010, "ILSVRC2010_images_train.tar")
    images = {name: content for files in by_class.values() for name, content in files.items()}
    expected = {
        "cmyk": ("JPEG", "CMYK"),
        "ycck": ("JPEG", "CMYK"),
        "gray": ("JPEG", "L"),
        "png_rgb": ("PNG", "RGB"),
        "png_rgba": ("PNG", "RGBA"),
        "png_palette": ("PNG", "P"),
        "trailing_bytes": ("JPEG", "RGB"),
        "exif_orientation": ("JPEG", "RGB"),
        "one_pixel_wide": ("JPEG", "RGB"),
        "unavailable": ("JPEG", "RGB"),
        "gzip": ("JPEG", "RGB"),
    }
    odd = drawn_2010.odd["train"]
    assert set(odd) == {*expected, *UNDECODABLE}
    listed = {name for names in odd.values() for name in names}
    for name, content in images.items():
        if not name.startswith(".") and name not in listed:
            assert Image.open(io.BytesIO(content)).format == "JPEG"
    for kind, (file_format, mode) in expected.items():
        for name in odd[kind]:
            content = gzip.decompress(images[name]) if kind == "gzip" else images[name]
            image = Image.open(io.BytesIO(content))
            assert (image.format, image.mode) == (file_format, mode), kind
    for kind in UNDECODABLE:
        with pytest.raises(OSError):
            Image.open(io.BytesIO(images[odd[kind][0]])).load()
    assert [name for name in images if name.startswith(".")] == [drawn_2010.dotfile]


def test_every_patch_mends_an_image_of_its_split(drawn_2010: SampleFacts) -> None:
    patches = read_tar(drawn_2010.directory / "patch_images.tar")
    files = [name.split("/")[1:] for name in patches if not name.endswith("/")]
    assert {split: [n for s, n in files if s == split] for split in drawn_2010.patched} == drawn_2010.patched
    for split, kinds in drawn_2010.odd.items():
        assert sorted(kinds["unavailable"]) == sorted(drawn_2010.patched[split])
        assert kinds["unavailable"]
    assert {"patch_images/", "patch_images/train/", "patch_images/val/", "patch_images/test/"} < set(patches)
    for split, name in files:
        assert Image.open(io.BytesIO(patches[f"patch_images/{split}/{name}"])).size != (240, 180)


def test_photos_have_many_shapes(drawn_2010: SampleFacts) -> None:
    files = train_images(drawn_2010, "ILSVRC2010_images_train.tar").values()
    plain = {name for kinds in drawn_2010.odd["train"].values() for name in kinds}
    sizes = [
        Image.open(io.BytesIO(content)).size
        for images in files
        for name, content in images.items()
        if name not in plain and not name.startswith(".")
    ]
    assert any(width > height for width, height in sizes)
    assert any(width < height for width, height in sizes)
    assert any(min(size) < 256 for size in sizes)
    assert len(set(sizes)) > 25


@pytest.mark.parametrize("edition", ["2010", "2012"])
def test_two_workers_write_the_same_bytes_as_one(edition: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    facts: SampleFacts = request.getfixturevalue(f"drawn_{edition}")
    calls: list[tuple[int, int]] = []
    again = SampleRequest(directory=tmp_path / "again", edition=edition, workers=2, **SIZES)
    draw_source(again, lambda done, total: calls.append((done, total)))
    assert hashes(tmp_path / "again") == hashes(facts.directory)
    total = sum(facts.members.values()) + sum(map(len, facts.patched.values())) + 1
    assert calls == [(k, total) for k in range(1, total + 1)]


def test_another_seed_draws_another_source(drawn_2010: SampleFacts, tmp_path: Path) -> None:
    draw_source(SampleRequest(directory=tmp_path, **{**SIZES, "seed": 12, "train_per_class": 1}), silent)
    mine, other = hashes(tmp_path), hashes(drawn_2010.directory)
    assert not set(mine.values()) & set(other.values())


def test_the_smallest_source_is_whole(tmp_path: Path) -> None:
    request = SampleRequest(directory=tmp_path, classes=2, train_per_class=1, val_per_class=1, test_per_class=1)
    facts = draw_source(request, silent)
    assert facts.members == {"train": 2, "val": 2, "test": 2}
    assert [len(names) for names in facts.patched.values()] == [1, 1, 1]


def test_the_same_request_is_there_already(drawn_2010: SampleFacts) -> None:
    before = hashes(drawn_2010.directory)
    request = SampleRequest(directory=drawn_2010.directory, workers=2, **SIZES)
    assert draw_source(request, silent) == replace(drawn_2010, reused=True)
    assert hashes(drawn_2010.directory) == before
    assert json.loads((drawn_2010.directory / "sample.json").read_text())["odd"] == drawn_2010.odd


@pytest.mark.parametrize("change", [{"seed": 12}, {"edition": "2012"}, {"train_per_class": 13}])
def test_another_request_is_refused_and_nothing_touched(change: dict[str, Any], drawn_2010: SampleFacts) -> None:
    before = hashes(drawn_2010.directory)
    with pytest.raises(DrawError, match="draw into another directory") as caught:
        draw_source(replace(SampleRequest(directory=drawn_2010.directory, **SIZES), **change), silent)
    assert "\n" not in str(caught.value)
    assert hashes(drawn_2010.directory) == before


def test_real_archives_are_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "ILSVRC2012_img_val.tar").write_bytes(b"real")
    with pytest.raises(DrawError, match=r"ILSVRC2012_img_val\.tar, not drawn here"):
        draw_source(SampleRequest(directory=tmp_path, **SIZES), silent)
    assert [path.name for path in tmp_path.iterdir()] == ["ILSVRC2012_img_val.tar"]


def test_a_run_that_was_killed_or_an_archive_that_was_cut_is_drawn_again(
    drawn_2010: SampleFacts, tmp_path: Path
) -> None:
    class Killed(BaseException):
        pass

    def kill(done: int, _total: int) -> None:
        if done == 55:
            raise Killed

    request = SampleRequest(directory=tmp_path, **SIZES)
    with pytest.raises(Killed):
        draw_source(request, kill)
    assert set(hashes(tmp_path)) == {"ILSVRC2010_images_train.tar", "sample.json"}
    draw_source(request, silent)
    assert hashes(tmp_path) == hashes(drawn_2010.directory)
    (tmp_path / "patch_images.tar").write_bytes(b"cut")
    assert not draw_source(request, silent).reused
    assert hashes(tmp_path) == hashes(drawn_2010.directory)


@pytest.mark.parametrize(
    "change",
    [{"classes": 1}, {"classes": 11}, {"train_per_class": 0}, {"seed": -1}, {"workers": 0}, {"edition": "2011"}],
)
def test_sizes_that_cannot_be_drawn_are_refused(change: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DrawError, match=r"sample: \w+ is .*; expected") as caught:
        draw_source(replace(SampleRequest(directory=tmp_path / "new", **SIZES), **change), silent)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_a_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FileError, match="cannot be written .a part of the path is no folder"):
        draw_source(SampleRequest(directory=tmp_path / "file" / "below", **SIZES), silent)
