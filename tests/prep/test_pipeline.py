"""`alexnet-prep shards` as processes on real archives: what is written, what is dropped, and the same bytes every time."""

import hashlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from PIL import Image

from alexnet_prep import pipeline
from alexnet_shards.index import load_index
from alexnet_shards.manifest import load_manifest


def hashes(out: Path) -> dict[str, str]:
    """sha256 of every file a user is promised: shards, index, manifest."""
    paths = [path for path in sorted(out.iterdir()) if path.is_file() and not path.name.startswith(".")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.fixture(scope="module")
def made(data_dir: Path, tmp_path_factory: pytest.TempPathFactory, prep: Any) -> tuple[Path, list[dict[str, Any]]]:
    """Shards of the real source by one worker, and the reports."""
    out = tmp_path_factory.mktemp("made") / "shards"
    done = prep("shards", "--source", data_dir / "ilsvrc2010", "--split", "all", "--out", out, "--workers", 1, "--json")
    return out, json.loads(done.stdout)


def test_every_member_of_the_real_source_is_accounted_for(made: Any, data_dir: Path) -> None:
    facts = json.loads((data_dir / "ilsvrc2010.facts.json").read_text())
    train, val, test = made[1]
    assert [report["split"] for report in made[1]] == ["train", "val", "test"]
    assert (train["members"], train["written"], train["patched"]) == (400, 398, 3)
    planted = {kind: name.removesuffix(".JPEG") for name, kind in facts["planted"].items()}
    assert sorted(entry["key"] for entry in train["dropped"]) == sorted([planted["truncated"], planted["garbage"]])
    assert all(entry["reason"] for entry in train["dropped"])
    assert (val["members"], val["written"], val["patched"], val["dropped"]) == (80, 80, 1, [])
    assert (test["members"], test["written"], test["patched"], test["dropped"]) == (20, 20, 0, [])
    manifest = load_manifest(made[0] / "train.manifest.json")
    for kind, planted_kind in (("gzip", "gzip"), ("cmyk", "cmyk"), ("gray", "gray"), ("png", "png")):
        assert planted[planted_kind] in manifest.report["converted"][kind], kind
    assert planted["exif_orientation"] in manifest.report["converted"]["exif_orientation"]
    assert planted["trailing_bytes"] in manifest.report["converted"]["trailing_bytes"]


def read_samples(pattern: str) -> dict[str, tuple[np.ndarray[Any, Any], str]]:
    """Key to (image, label text), by the stock webdataset library."""
    samples = webdataset.WebDataset(pattern, shardshuffle=False, empty_check=False)
    return {
        sample["__key__"]: (np.asarray(Image.open(io.BytesIO(sample["jpg"]))), sample["cls"].decode())
        for sample in samples
    }


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves its files open
def test_stock_webdataset_reads_them(made: Any, data_dir: Path) -> None:
    facts = json.loads((data_dir / "ilsvrc2010.facts.json").read_text())
    train = read_samples(str(made[0] / "train-000.tar"))
    assert len(train) == 398
    assert not any(key.startswith(".") or "02870880_11846.JPEG" in key for key in train)
    assert {image.shape for image, _ in train.values()} == {(256, 256, 3)}
    classes = load_manifest(made[0] / "train.manifest.json").classes
    assert len(classes) == 1000
    assert all(classes[int(label)].wnid == key[:9] for key, (_, label) in train.items())
    planted = {kind: name.removesuffix(".JPEG") for name, kind in facts["planted"].items()}
    kinds = (
        "gzip",
        "cmyk",
        "gray",
        "png",
        "tiny1px",
        "exif_orientation",
        "trailing_bytes",
        "patched",
        "patched2",
        "patched3",
    )
    assert all(planted[kind] in train for kind in kinds)
    for split in ("val", "test"):
        found = {
            f"{key}.JPEG": int(label) for key, (_, label) in read_samples(str(made[0] / f"{split}-000.tar")).items()
        }
        assert found == facts[split]["labels"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_index_points_at_the_jpegs(made: Any) -> None:
    rows = load_index(made[0] / "train.index.npy")
    samples = read_samples(str(made[0] / "train-000.tar"))
    content = (made[0] / "train-000.tar").read_bytes()
    assert len(rows) == len(samples)
    for row, (image, label) in zip(rows, samples.values(), strict=True):
        jpeg = content[row["offset"] : row["offset"] + row["size"]]
        assert zlib.crc32(jpeg) == row["crc32"]
        assert int(label) == row["label"]
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(jpeg))), image)


def test_the_same_bytes_for_two_workers(made: Any, data_dir: Path, tmp_path: Path, prep: Any) -> None:
    prep("shards", "--source", data_dir / "ilsvrc2010", "--out", tmp_path, "--workers", 2, "--json")
    assert hashes(tmp_path) == hashes(made[0])


@pytest.fixture
def sharded(small_source: Any, tmp_path: Path, prep: Any) -> Any:
    """Runs `alexnet-prep shards` on the small source, six shards a split."""

    def run(out: str = "out", *words: object, status: int = 0) -> subprocess.CompletedProcess[str]:
        command = ("shards", "--source", small_source.directory, "--out", tmp_path / out, "--split", "train")
        done: subprocess.CompletedProcess[str] = prep(
            *command, "--num-shards", 6, "--json", "--workers", 2, *words, status=status
        )
        return done

    return run


def test_a_second_run_builds_only_what_is_missing_or_damaged(sharded: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    sharded()
    first = hashes(out)
    stamps = {path: path.stat().st_mtime_ns for path in out.glob("*.tar")}
    (out / "train-001.tar").unlink()
    content = bytearray((out / "train-004.tar").read_bytes())
    content[2000] ^= 1
    (out / "train-004.tar").write_bytes(content)
    done = sharded()
    assert "4 shards were there already" in done.stderr
    assert hashes(out) == first
    unchanged = [path.name for path, stamp in stamps.items() if path.stat().st_mtime_ns == stamp]
    assert sorted(unchanged) == ["train-000.tar", "train-002.tar", "train-003.tar", "train-005.tar"]


def test_what_a_worker_of_an_earlier_run_writes_late_is_made_again(sharded: Any, tmp_path: Path) -> None:
    """A worker on another machine ends its job when its run has ended, and the folder is another run's by then."""
    out, names = tmp_path / "out", ("train-002.tar", ".build/train/train-002.tar.json")
    sharded("out", "--quality", 80)
    late = {name: (out / name).read_bytes() for name in names}
    shutil.rmtree(out)
    sharded()
    whole = hashes(out)
    for name, content in late.items():
        (out / name).write_bytes(content)
    assert "5 shards were there already" in sharded().stderr
    assert hashes(out) == whole


@pytest.mark.parametrize(("lost", "is_decoded"), [("", False), ("stats.npz", True), ("train-001.tar", False)])
def test_statistics_that_are_there_are_kept(
    sharded: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str, is_decoded: bool
) -> None:
    sharded("out", "--stats")
    whole, decoded = hashes(tmp_path / "out"), list[bool]()
    if lost:
        (tmp_path / "out" / lost).unlink()
    real = pipeline._make_split

    def make_split(request: Any, prepared: Any, setup: Any, progress: Any) -> dict[str, Any]:
        decoded.append(setup.moments)
        return real(request, prepared, setup, progress)

    monkeypatch.setattr(pipeline, "_make_split", make_split)
    if not is_decoded:
        monkeypatch.setattr(pipeline, "split_stats", None)
    sharded("out", "--stats")
    assert decoded == [is_decoded]
    assert hashes(tmp_path / "out") == whole


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (("--seed", 1), "seed"),
        (("--quality", 90), "recipe.quality"),
        (("--labels", "wnid"), "labels"),
        (("--num-shards", 5), "num_shards"),
    ],
)
def test_a_changed_run_is_refused_by_field(sharded: Any, tmp_path: Path, words: Any, field: str) -> None:
    sharded()
    before = hashes(tmp_path / "out")
    done = sharded("out", *words, status=1)
    assert f"another {field} (there" in done.stderr
    assert sum(line.startswith("error: ") for line in done.stderr.splitlines()) == 1
    assert hashes(tmp_path / "out") == before


def test_a_changed_source_is_refused(
    sharded: Any, small_source: Any, tmp_path: Path, tar_bytes: Any, photo_bytes: Any
) -> None:
    sharded()
    before = hashes(tmp_path / "out")
    inner = tar_bytes(
        [("n00000001_1.JPEG", photo_bytes(5))] + [(f"n00000001_{i}.JPEG", photo_bytes(i)) for i in range(7, 19)]
    )
    (small_source.directory / "ILSVRC2010_images_train.tar").write_bytes(tar_bytes([("n00000001.tar", inner)]))
    done = sharded(status=1)
    assert "holds a run with another" in done.stderr
    assert hashes(tmp_path / "out") == before


def test_a_wrong_source_leaves_nothing_behind(small_source: Any, tmp_path: Path, prep: Any) -> None:
    archive = small_source.directory / "ILSVRC2010_images_train.tar"
    archive.write_bytes(archive.read_bytes()[:50_000])
    done = prep("shards", "--source", small_source.directory, "--out", tmp_path / "out", "--split", "train", status=1)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert "truncated" in line
    assert "ILSVRC2010_images_train.tar" in line
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file() and path.name != ".lock"]


def start(small_source: Any, out: Path) -> subprocess.Popen[bytes]:
    """A run of the small source in a process group of its own."""
    command = [sys.executable, "-m", "alexnet_prep.cli", "shards", "--source", str(small_source.directory)]
    command += ["--out", str(out), "--split", "train", "--num-shards", "12", "--workers", "2", "--json"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def workers_of(pid: int) -> list[int]:
    """Live children of a process."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


@pytest.mark.parametrize("goal", [8, pytest.param(50, marks=pytest.mark.long)])
def test_sigkill_at_any_moment_any_number_of_times(small_source: Any, tmp_path: Path, goal: int) -> None:
    began = time.monotonic()
    assert start(small_source, tmp_path / "undisturbed").wait(120) == 0
    took_seconds = time.monotonic() - began
    rng, kills = random.Random(0), {"parent": 0, "worker": 0}
    for attempt in range(4 * goal):
        out = tmp_path / f"killed{sum(kills.values()) // 4}"  # a new directory after every four kills
        process, kind = start(small_source, out), ("parent", "worker")[attempt % 2]
        time.sleep(rng.uniform(0.1, 0.9) * took_seconds)
        while kind == "worker" and process.poll() is None and not workers_of(process.pid):
            time.sleep(0.001)
        victims = [process.pid] if kind == "parent" else workers_of(process.pid)
        if process.poll() is None and victims:
            with suppress(ProcessLookupError):  # a worker that has just ended
                os.kill(rng.choice(victims), signal.SIGKILL)
                kills[kind] += 1
        if kind == "parent":
            process.wait(60)
        else:
            assert process.wait(120) == 0, "a killed worker must not end the run"
        if sum(kills.values()) >= goal:
            break
    assert sum(kills.values()) >= goal
    assert all(kills.values())
    for out in sorted(tmp_path.glob("killed*")):
        assert start(small_source, out).wait(120) == 0
        assert hashes(out) == hashes(tmp_path / "undisturbed"), out
        assert not list(out.rglob("*.tmp"))


@pytest.mark.parametrize(("signal_number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_polite_signal_leaves_nothing_half_written(
    small_source: Any, tmp_path: Path, signal_number: int, status: int
) -> None:
    process = start(small_source, tmp_path / "out")
    deadline = time.monotonic() + 60
    while not list((tmp_path / "out").glob("train-*.tar")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal_number)
    assert process.wait(60) in (status, 0)
    assert not list((tmp_path / "out").rglob("*.tmp"))
    assert start(small_source, tmp_path / "out").wait(120) == 0
    assert len(list((tmp_path / "out").glob("train-*.tar"))) == 12


@pytest.fixture
def small_disk(mount_disk: Callable[[int], Path]) -> Path:
    """A file system of 700 KB."""
    return mount_disk(700 << 10)


def test_a_full_disk_is_one_line_and_the_run_goes_on(
    small_source: Any, small_disk: Path, prep: Any, tmp_path: Path
) -> None:
    (small_disk / "ballast").write_bytes(bytes(450_000))
    command = ("shards", "--source", small_source.directory, "--split", "train", "--num-shards", 12, "--json")
    done = prep(*command, "--out", small_disk / "out", status=1)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert "disk is full" in line or "are needed" in line
    assert not list(small_disk.rglob("*.tmp"))
    (small_disk / "ballast").unlink()
    prep(*command, "--out", small_disk / "out")
    prep(*command, "--out", tmp_path / "roomy")
    assert hashes(small_disk / "out") == hashes(tmp_path / "roomy")


def test_a_read_only_directory_is_one_line(small_source: Any, small_disk: Path, prep: Any) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    done = prep("shards", "--source", small_source.directory, "--out", small_disk / "out", status=1)
    assert "cannot be written (the file system is read-only)" in done.stderr


def test_two_runs_on_one_directory(small_source: Any, tmp_path: Path, prep: Any) -> None:
    process = start(small_source, tmp_path / "out")
    deadline = time.monotonic() + 60
    while not (tmp_path / "out" / ".build" / "train" / "plan.json").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGSTOP)
    try:
        done = prep("shards", "--source", small_source.directory, "--out", tmp_path / "out", status=1)
        assert f"process {process.pid} on " in done.stderr
    finally:
        os.kill(process.pid, signal.SIGCONT)
    assert process.wait(120) == 0


@pytest.mark.parametrize("edition", ["2010", "2012"])
def test_drawn_sources_give_the_same_bytes_for_one_and_two_workers(tmp_path: Path, prep: Any, edition: str) -> None:
    sizes = ("--classes", 4, "--train-per-class", 8, "--val-per-class", 3, "--test-per-class", 2)
    facts = json.loads(prep("sample", tmp_path / "source", "--edition", edition, *sizes, "--json").stdout)
    reports = {}
    for workers in (1, 2):
        words = ("--source", tmp_path / "source", "--out", tmp_path / f"{workers}", "--workers", workers, "--json")
        reports[workers] = json.loads(prep("shards", *words, "--num-shards", 3).stdout)
    assert hashes(tmp_path / "1") == hashes(tmp_path / "2")
    train, val, test = reports[1]
    assert (train["members"], val["members"], test["members"]) == (32, 12, 8)
    bad = [name for kind in ("truncated", "garbage") for name in facts["odd"]["train"].get(kind, [])]
    assert sorted(f"{entry['key']}.JPEG" for entry in train["dropped"]) == sorted(bad)
    assert train["patched"] == len(facts["patched"].get("train", []))
    assert train["classes_off_count"] == 0
    labels = load_index(tmp_path / "1" / "test.index.npy")["label"]
    assert (labels == -1).all() == (edition == "2012")
    classes = load_manifest(tmp_path / "1" / "val.manifest.json").classes
    assert [fact.official_id for fact in classes] == [1, 2, 3, 4]
    assert [fact.wnid for fact in classes] != sorted(fact.wnid for fact in classes)
