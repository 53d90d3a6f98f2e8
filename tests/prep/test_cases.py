"""Small sources that once lost images without a word, through the command line: what becomes of every entry."""

import json
import os
import resource
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alexnet_shards.manifest import load_manifest


@pytest.fixture
def case(data_dir: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Unpack a case by name."""

    def unpack(name: str) -> Path:
        archive = data_dir.parent / "cases" / "ingest" / f"{name}.tar"
        if not archive.is_file():
            pytest.skip(f"{archive} is not there")
        with tarfile.open(archive) as file:
            file.extractall(tmp_path / "case", filter="fully_trusted")
        return tmp_path / "case" / name

    return unpack


@pytest.fixture
def shards(prep: Any, tmp_path: Path) -> Callable[..., Any]:
    """The report of the first split, and what was said; status 1: what was said."""

    def make(source: Path, *words: object, status: int = 0) -> Any:
        done = prep(
            "shards", "--source", source, "--out", tmp_path / "out", "--workers", 1, "--json", *words, status=status
        )
        if status:
            (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
            return line
        report = json.loads(done.stdout)[0]
        assert report["entries"] == report["written"] + len(report["dropped"]) + sum(report["ignored"].values())
        assert f"{report['entries']:,} entries = {report['written']:,} written" in done.stderr
        return report, done.stderr

    return make


@pytest.mark.parametrize(
    ("name", "written", "ignored"),
    [
        ("broken-link", 6, {"directory": 2, "link that leads nowhere": 1}),
        ("latin1-class", 7, {"directory": 3}),
        ("latin1-name", 7, {"directory": 2}),
        ("nested-partly", 8, {"directory": 3}),
        ("stem-sidecar", 6, {"directory": 2, "sidecar": 1}),
        ("tar-concatenated", 9, {}),
        ("tar-hardlink", 9, {}),
    ],
)
def test_the_account_of_a_case(case: Any, shards: Any, name: str, written: int, ignored: dict[str, int]) -> None:
    source = case(name)
    report, _ = shards(source)
    assert (report["written"], report["dropped"], report["ignored"]) == (written, [], ignored)
    if (source / "train").is_dir():
        found = subprocess.run(["find", source / "train", "-mindepth", "1", "-print0"], capture_output=True, check=True)
        assert found.stdout.count(b"\0") == report["entries"]


def test_links_that_lead_nowhere_are_named(case: Any, shards: Any) -> None:
    report, _ = shards(case("broken-link"))
    assert "train: cat/cat_img9.jpg is a link that leads nowhere, not a member" in report["notes"]
    assert "1 missing" in shards(case("broken-link"), "--strict", status=1)


def test_names_of_any_bytes_come_through(case: Any, shards: Any, tmp_path: Path) -> None:
    shards(case("latin1-class"))
    classes = [fact.wnid for fact in load_manifest(tmp_path / "out" / "train.manifest.json").classes]
    assert classes == ["cat", "dog", "ni\udcf1o"]
    shutil.rmtree(tmp_path / "out")
    shards(case("latin1-name"))
    assert load_manifest(tmp_path / "out" / "train.manifest.json").report["converted"]["png"] == ["caf\udce9"]
    with tarfile.open(tmp_path / "out" / "train-000.tar", encoding="utf-8") as archive:
        assert "caf\udce9.jpg" in archive.getnames()


def test_an_empty_class_is_named_and_rubbish_left_out(case: Any, shards: Any) -> None:
    source = case("empty-class")
    for name in ("aardvark", "__MACOSX"):
        (source / "train" / name).mkdir(exist_ok=True)
    assert "no image in class folder aardvark" in shards(source, status=1)
    report, said = shards(source, "--allow-empty-classes")
    assert report["written"] == 6
    assert "__MACOSX is a file of another program, not a member" in said or any(
        "__MACOSX" in n for n in report["notes"]
    )


def test_a_huge_file_is_a_sidecar_or_one_drop(shards: Any, tmp_path: Path, photo_bytes: Any) -> None:
    for name in ("a", "b"):
        (tmp_path / "source/train" / name).mkdir(parents=True)
        (tmp_path / "source/train" / name / f"{name}.jpg").write_bytes(photo_bytes(1))
    for name in ("a.tar", "huge.jpg"):
        with (tmp_path / "source/train/a" / name).open("wb") as file:
            file.truncate(5 << 30)
    report, _ = shards(tmp_path / "source")
    assert report["dropped"] == [{"key": "huge", "reason": "over the limit of 512 MiB a file"}]
    assert (report["written"], report["ignored"]) == (2, {"directory": 2, "sidecar": 1})


def test_thumbnails_and_stems_that_collide(shards: Any, tmp_path: Path, photo_bytes: Any) -> None:
    for name in ("cat/a.jpg", "cat/a.png", "cat/x.y.jpg", "cat/x_y.jpg", "dog/b.jpg", "cat/Thumbs.db", "dog/Thumbs.db"):
        path = tmp_path / "source/train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\xd0\xcf\x11\xe0" if path.name == "Thumbs.db" else photo_bytes(1))
    report, _ = shards(tmp_path / "source")
    assert (report["written"], report["ignored"]) == (5, {"directory": 2, "sidecar": 2})


def test_no_image_is_an_error(shards: Any, tmp_path: Path) -> None:
    (tmp_path / "source/train/a").mkdir(parents=True)
    (tmp_path / "source/train/a/x.jpg").write_bytes(b"no picture at all")
    assert "none of its 1 images can be used, the first, x, for: no image" in shards(tmp_path / "source", status=1)
    assert not (tmp_path / "out/train.manifest.json").exists()


def test_an_incomplete_official_set_says_so(case: Any, shards: Any, small_source: Any, tmp_path: Path) -> None:
    source = case("tar-val-incomplete")
    report, _ = shards(source)
    line = "val: 5 of the 9 images that the ground truth lists are there; missing are 00000006, 00000007, 00000008, 00000009"
    assert (report["missing"], report["notes"][0]) == (4, line)
    assert "--strict: val: 4 missing" in shards(source, "--strict", status=1)


def test_classes_off_count_are_named(
    shards: Any, small_source: Any, tar_bytes: Any, photo_bytes: Any, tmp_path: Path
) -> None:
    photos = [(f"n00000001_{number}.JPEG", photo_bytes(number)) for number in range(5)]
    inner = [("n00000001.tar", tar_bytes(photos)), (".n00000002.tar.Xy", b"")]
    (small_source.directory / "ILSVRC2010_images_train.tar").write_bytes(tar_bytes(inner))
    report, _ = shards(small_source.directory, "--split", "train")
    assert "train: no image of 2 of the devkit's 3 classes: n00000003, n00000002" in report["notes"]
    assert any("n00000001 5 of 8" in note for note in report["notes"])
    assert report["missing"] == 8 + 8 + 3
    assert "classes off count" in shards(small_source.directory, "--split", "train", "--strict", status=1)


def test_what_can_be_known_is_known_before_the_work(shards: Any, tmp_path: Path, photo_bytes: Any) -> None:
    for number in range(6):
        (tmp_path / f"source/train/c{number % 2}").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"source/train/c{number % 2}/{number}.jpg").write_bytes(photo_bytes(number))
    (tmp_path / "source/val").mkdir()
    (tmp_path / "source/val/1.jpg").write_bytes(photo_bytes(9))
    assert "LOC_val_solution.csv: cannot be read" in shards(tmp_path / "source", status=1)
    (tmp_path / "source/val/c0").mkdir()
    (tmp_path / "source/val/1.jpg").rename(tmp_path / "source/val/c0/1.jpg")
    assert "--num-shards 3: the val split has 1 images" in shards(tmp_path / "source", "--num-shards", 3, status=1)
    assert not list((tmp_path / "out").glob("*.tar"))
    assert not (tmp_path / "out" / ".build").exists()


@pytest.mark.parametrize("form", ["touched", "copied", "without .build"])
def test_the_same_bytes_are_the_same_source(small_source: Any, prep: Any, tmp_path: Path, form: str) -> None:
    out, source = tmp_path / "out", small_source.directory
    prep("shards", "--source", source, "--out", out, "--num-shards", 3, "--json")
    before = {path.name: path.read_bytes() for path in out.glob("*.tar")}
    content = bytearray(before["val-001.tar"])
    content[2000:2064] = b"\xff" * 64
    (out / "val-001.tar").write_bytes(content)
    if form == "touched":
        for path in source.iterdir():
            os.utime(path, (1, 1))
    elif form == "copied":
        source = Path(shutil.copytree(source, tmp_path / "copy"))
    else:
        shutil.rmtree(out / ".build")
    prep("verify", "--shards", out, "--repair", "--source", source)
    assert {path.name: path.read_bytes() for path in out.glob("*.tar")} == before


def library(case: Any, tmp_path: Path, name: str) -> Path:
    """One of the case's libraries that make a file system of another kind."""
    source = case("environment") / f"{name}.c"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", tmp_path / f"{name}.so", source, "-ldl"], check=True)
    return tmp_path / f"{name}.so"


@pytest.mark.parametrize("name", ["noflock", "nofsync"])
def test_file_systems_without_locks_or_folder_fsync(
    case: Any, small_source: Any, prep: Any, tmp_path: Path, name: str
) -> None:
    env = {**os.environ, "LD_PRELOAD": str(library(case, tmp_path, name))}
    prep("shards", "--source", small_source.directory, "--out", tmp_path / "out", "--split", "val", "--json", env=env)
    prep("verify", "--shards", tmp_path / "out", env=env)


def test_a_stalled_disk_is_waited_for(case: Any, prep: Any, tmp_path: Path, photo_bytes: Any) -> None:
    for name in ("b/1.jpg", "b/2.jpg", "c/3.jpg", "c/4.jpg"):
        (tmp_path / "source/train" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source/train" / name).write_bytes(photo_bytes(1))
    flag = tmp_path / "flag"
    flag.touch()
    env = {**os.environ, "LD_PRELOAD": str(library(case, tmp_path, "stall")), "STALL_FLAG": str(flag)}
    words = ("shards", "--source", tmp_path / "source", "--out", tmp_path / "out", "--hang-seconds", 1, "--json")
    command = [sys.executable, "-m", "alexnet_prep.cli", *map(str, words)]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any("is waited for" in line for line in process.stderr)  # reads until it is said
        flag.unlink()
        report = json.loads(process.communicate(timeout=200)[0])[0]
    assert process.returncode == 0
    assert (report["written"], report["dropped"]) == (4, [])


def test_few_open_files_take_fewer_workers(small_source: Any, tmp_path: Path) -> None:
    words = ("shards", "--source", small_source.directory, "--out", tmp_path / "out", "--num-shards", 12, "--json")
    command = [sys.executable, "-m", "alexnet_prep.cli", *map(str, words), "--split", "train", "--workers", "64"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40)),
    )
    assert done.returncode == 0, done.stderr
    assert "workers instead of 12: open files (ulimit -n)" in done.stderr


@pytest.mark.parametrize("size_bytes", [150_000, 250_000, 400_000])
def test_a_tiny_disk_is_one_line_wherever_it_is_full(
    small_source: Any, prep: Any, mount_disk: Callable[[int], Path], size_bytes: int
) -> None:
    disk = mount_disk(size_bytes)
    words = ("shards", "--source", small_source.directory, "--out", disk / "out", "--split", "val")
    done = subprocess.run(
        [sys.executable, "-m", "alexnet_prep.cli", *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1)
    assert "Traceback" not in done.stderr
    assert sum(line.startswith("error: ") for line in done.stderr.splitlines()) == done.returncode


@pytest.mark.parametrize("edition", ["2010", "2012"])
def test_the_sum_over_drawn_archives_is_what_tar_lists(prep: Any, tmp_path: Path, edition: str) -> None:
    sizes = ("--classes", 3, "--train-per-class", 8, "--val-per-class", 3, "--test-per-class", 2)
    prep("sample", tmp_path / "source", "--edition", edition, *sizes)
    done = prep("shards", "--source", tmp_path / "source", "--out", tmp_path / "out", "--json")
    patches = 0
    listed = dict.fromkeys(("train", "val", "test"), 0)
    for path in (tmp_path / "source").glob("*.tar"):
        with tarfile.open(path) as archive:
            members = archive.getmembers()
            if path.name.startswith("patch"):
                patches = len(members)
                continue
            split = next(split for split in listed if f"_{split}" in path.name)
            listed[split] += len(members)
            for member in members if split == "train" else ():
                with tarfile.open(fileobj=archive.extractfile(member)) as inner:
                    listed[split] += len(inner.getmembers())
    reports = {report["split"]: report for report in json.loads(done.stdout)}
    assert sum(report["entries"] for report in reports.values()) == sum(listed.values()) + patches
    for report in reports.values():
        assert report["entries"] == report["written"] + len(report["dropped"]) + sum(report["ignored"].values())
