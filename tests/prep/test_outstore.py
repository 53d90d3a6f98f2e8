"""Shards made for a store: the bytes of a folder's, done only when they are there, gone on with after kills."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from alexnet_prep.outstore import OutputStore


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALEXNET_CACHE", str(tmp_path / "cache"))


def in_store(s3: Any, prefix: str) -> dict[str, str]:
    """sha256 of every output by name."""
    found = s3.files.find(f"{s3.bucket}/{prefix}")
    names = {path: path.removeprefix(f"{s3.bucket}/{prefix}/") for path in found}
    return {n: hashlib.sha256(s3.files.cat_file(p)).hexdigest() for p, n in names.items() if not n.startswith(".")}


def in_folder(out: Path) -> dict[str, str]:
    files = (path for path in out.iterdir() if path.is_file() and not path.name.startswith("."))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_bytes_of_a_folder(small_source: Any, tmp_path: Path, prep: Any, s3: Any) -> None:
    words = ("shards", "--source", small_source.directory, "--num-shards", 3, "--workers", 2)
    prep(*words, "--out", tmp_path / "here")
    s3.proxy.fail("PUT */set/train-*", "503", 1)
    s3.proxy.fail("PUT */set/val-*", "reset", 1)
    prep(*words, "--out", f"{s3.url}/set", "--work", tmp_path / "work")
    assert in_store(s3, "set") == in_folder(tmp_path / "here")
    assert not list((tmp_path / "work").glob("*.tar"))  # they do not stay here
    assert not s3.files.exists(f"{s3.bucket}/set/.lock")
    puts = s3.proxy.count("PUT */set/*.tar*")
    prep(*words, "--out", f"{s3.url}/set", "--work", tmp_path / "other")  # from another machine: nothing is made twice
    assert s3.proxy.count("PUT */set/*.tar*") == puts
    s3.files.rm_file(f"{s3.bucket}/set/train-001.tar")
    s3.files.pipe_file(f"{s3.bucket}/set/train-002.tar", b"x" * s3.files.size(f"{s3.bucket}/set/train-002.tar"))
    prep(*words, "--out", f"{s3.url}/set")
    assert in_store(s3, "set") == in_folder(tmp_path / "here")
    done = prep(*words, "--seed", 5, "--out", f"{s3.url}/set", status=1)
    assert "holds a run with another seed" in done.stderr


def test_the_bytes_of_a_folder_in_googles_store(small_source: Any, tmp_path: Path, prep: Any, gcs: Any) -> None:
    words = ("shards", "--source", small_source.directory, "--num-shards", 3, "--workers", 2, "--stats")
    prep(*words, "--out", tmp_path / "here")
    for fault in ("503", "reset"):
        gcs.proxy.fail("POST /upload/*", fault, 1)
    done = prep(*words, "--out", f"{gcs.url}/set", "--work", tmp_path / "work")
    assert in_store(gcs, "set") == in_folder(tmp_path / "here")
    assert not any(fault.times > 0 for fault in gcs.proxy.faults)
    assert "bucket type" not in done.stderr
    assert not gcs.files.exists(f"{gcs.bucket}/set/.lock")
    content = bytearray(gcs.files.cat_file(f"{gcs.bucket}/set/train-002.tar"))
    content[2000] ^= 1
    gcs.files.pipe_file(f"{gcs.bucket}/set/train-002.tar", bytes(content))  # of the same size: another generation
    gcs.files.rm_file(f"{gcs.bucket}/set/train-001.tar")
    done = prep("verify", "--shards", f"{gcs.url}/set", status=1)
    assert "train-001.tar" in done.stdout + done.stderr
    prep(*words, "--out", f"{gcs.url}/set", "--work", tmp_path / "other")
    assert in_store(gcs, "set") == in_folder(tmp_path / "here")
    prep("verify", "--shards", f"{gcs.url}/set")
    other = {"pid": 7, "host": "elsewhere", "boot": "b", "start": "1", "token": "t"}
    gcs.files.pipe_file(f"{gcs.bucket}/set/.lock", json.dumps(other).encode())
    assert "process 7 on elsewhere works there" in prep(*words, "--out", f"{gcs.url}/set", status=1).stderr


def check_sound(s3: Any, whole: dict[str, str]) -> None:
    """What is in the store is what belongs there, and nothing says of itself that it is done which is not."""
    found = in_store(s3, "set")
    assert {name: whole[name] for name in found} == found
    sidecars = [path.rpartition("/")[2] for path in s3.files.find(f"{s3.bucket}/set/.build") if ".tar.json" in path]
    assert {name.removesuffix(".json") for name in sidecars} <= found.keys()
    if "train.manifest.json" in found:
        assert {name for name in whole if name.startswith("train")} <= found.keys()


def kill_often(words: tuple[object, ...], s3: Any, whole: dict[str, str], kills: int) -> None:
    """SIGKILL runs, and every third time a worker of one, at random moments of their uploads."""
    command = [sys.executable, "-m", "alexnet_prep.cli", *map(str, words), "--out", f"{s3.url}/set"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    rng, done = random.Random(0), 0
    while done < kills:
        before, wanted = s3.proxy.count("PUT */set/*"), rng.randrange(1, 12)
        child = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 240
        while s3.proxy.count("PUT */set/*") < before + wanted and child.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.05))
        children = Path(f"/proc/{child.pid}/task/{child.pid}/children")
        workers = [int(pid) for pid in children.read_text().split()] if child.poll() is None else []
        if child.poll() is None:
            if workers and done % 3 == 2:
                os.kill(rng.choice(workers), signal.SIGKILL)
                time.sleep(rng.uniform(0, 1))
            child.kill()
            done += 1
        said = child.communicate()[1]
        assert child.returncode in (0, -signal.SIGKILL), said
        check_sound(s3, whole)
        if in_store(s3, "set").keys() == whole.keys():  # it was whole: from the beginning again
            s3.files.rm(f"{s3.bucket}/set", recursive=True)
    last = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert last.returncode == 0, last.stderr
    assert in_store(s3, "set") == whole


@pytest.fixture
def words(small_source: Any) -> tuple[object, ...]:
    return ("shards", "--source", small_source.directory, "--split", "train", "--num-shards", 6, "--workers", 2)


def test_kills_during_uploads(words: tuple[object, ...], tmp_path: Path, prep: Any, s3: Any) -> None:
    prep(*words, "--out", tmp_path / "here")
    kill_often(words, s3, in_folder(tmp_path / "here"), 3)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_thirty_kills_during_uploads(words: tuple[object, ...], tmp_path: Path, prep: Any, s3: Any) -> None:
    prep(*words, "--stats", "--out", tmp_path / "here")
    kill_often((*words, "--stats"), s3, in_folder(tmp_path / "here"), 30)


def test_parts_and_statistics(words: tuple[object, ...], tmp_path: Path, prep: Any, s3: Any) -> None:
    words = (*words, "--stats")
    prep(*words, "--out", tmp_path / "here")
    out = ("--out", f"{s3.url}/set")
    for part in ("3/3", "1/3"):
        prep(*words, *out, "--work", tmp_path / part[0], "--part", part)
    done = prep(*words, *out, "--finish", "--work", tmp_path / "4", status=1)
    assert f"{s3.url}/set: 2 of 6 shards are missing or damaged: train-002.tar to train-003.tar" in done.stderr
    assert "train.manifest.json" not in in_store(s3, "set")
    other = {"pid": 7, "host": "elsewhere", "boot": "b", "start": "1", "token": "t"}
    for lock, command in ((".build/part-1-of-3.lock", ()), (".lock", ("--part", "2/3")), (".lock", ("--finish",))):
        s3.files.pipe_file(f"{s3.bucket}/set/{lock}", json.dumps(other).encode())
        assert "process 7 on elsewhere works there" in prep(*words, *out, *command, status=1).stderr
        s3.files.rm_file(f"{s3.bucket}/set/{lock}")
    prep(*words, *out, "--work", tmp_path / "2", "--part", "2/3")
    assert "another seed" in prep(*words, *out, "--seed", 1, "--part", "2/3", status=1).stderr
    done = prep(*words, *out, "--part", "2/3", "--read", "once", status=1)
    assert "parts of a source that is read once meet in one folder" in done.stderr
    prep(*words, *out, "--finish", "--work", tmp_path / "4")
    assert in_store(s3, "set") == in_folder(tmp_path / "here")


def test_a_repair(words: tuple[object, ...], small_source: Any, tmp_path: Path, prep: Any, s3: Any) -> None:
    out, source = f"{s3.url}/set", small_source.directory
    prep(*words, "--out", tmp_path / "here")
    prep(*words, "--out", out)
    for build in (True, False):
        content = bytearray(s3.files.cat_file(f"{s3.bucket}/set/train-002.tar"))
        content[2000] ^= 1
        s3.files.pipe_file(f"{s3.bucket}/set/train-002.tar", bytes(content))
        s3.files.rm_file(f"{s3.bucket}/set/train-004.tar")
        if not build:
            s3.files.rm(f"{s3.bucket}/set/.build", recursive=True)
        puts = s3.proxy.count("PUT */set/train-*.tar ") + s3.proxy.count("PUT */set/train-*.tar")
        done = prep("verify", "--shards", out, "--repair", "--source", source, "--workers", 2)
        assert "every byte as it was written" in done.stdout
        assert s3.proxy.count("PUT */set/train-*.tar ") + s3.proxy.count("PUT */set/train-*.tar") == puts + 2
        assert in_store(s3, "set") == in_folder(tmp_path / "here")


def test_what_a_killed_run_left_in_its_work_folder(
    words: tuple[object, ...], tmp_path: Path, prep: Any, s3: Any
) -> None:
    out = ("--out", f"{s3.url}/set", "--work", tmp_path / "work")
    prep(*words, "--out", tmp_path / "here")
    whole = in_folder(tmp_path / "here")
    prep(*words, *out)
    (tmp_path / "work" / "train-002.tar").write_bytes(b"built, its upload was cut off")
    (tmp_path / "work" / ".fetched-x").mkdir()
    (tmp_path / "work" / ".fetched-x" / "train-003.tar").write_bytes(b"fetched for its sums")
    s3.files.rm(f"{s3.bucket}/set", recursive=True)
    prep(*words, *out)
    assert in_store(s3, "set") == whole
    assert not list((tmp_path / "work").rglob("*.tar"))
    done = prep(*words, "--out", f"{s3.url}/set", "--work", tmp_path / "here", status=1)
    assert "--work must be a folder of its own" in done.stderr
    assert in_folder(tmp_path / "here") == whole  # somebody's shards stay


def test_splits_that_are_made_on_two_machines(small_source: Any, tmp_path: Path, prep: Any, s3: Any) -> None:
    words = ("shards", "--source", small_source.directory, "--num-shards", 2, "--workers", 1)
    prep(*words, "--out", tmp_path / "here")
    for split in ("train", "val", "test"):
        prep(*words, "--out", f"{s3.url}/set", "--split", split, "--work", tmp_path / split)
    assert in_store(s3, "set") == in_folder(tmp_path / "here")


def test_what_is_whole_is_kept_without_its_sidecars(
    words: tuple[object, ...], tmp_path: Path, prep: Any, s3: Any
) -> None:
    prep(*words, "--out", f"{s3.url}/set")
    s3.files.rm(f"{s3.bucket}/set/.build", recursive=True)
    for _ in range(2):
        assert "6 shards were there already" in prep(*words, "--out", f"{s3.url}/set").stderr


def test_a_work_folder_is_the_same_for_workers_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert OutputStore.at("s3://bucket/set", Path("work")).work == tmp_path / "work"


def test_a_work_folder_with_somebody_s_manifest(words: tuple[object, ...], tmp_path: Path, prep: Any, s3: Any) -> None:
    prep(*words, "--out", tmp_path / "work")
    for path in (tmp_path / "work").glob("*.tar"):  # they lie elsewhere by now
        path.unlink()
    before = in_folder(tmp_path / "work")
    line = prep(*words, "--out", f"{s3.url}/set", "--work", tmp_path / "work", status=1).stderr.splitlines()[-1]
    assert "train.manifest.json: was not made for s3://" in line
    assert in_folder(tmp_path / "work") == before


def test_a_second_command_waits_outside(small_source: Any, tmp_path: Path, prep: Any, s3: Any) -> None:
    other = {"pid": 7, "host": "elsewhere", "boot": "b", "start": "1", "token": "t"}
    s3.files.pipe_file(f"{s3.bucket}/set/.lock", json.dumps(other).encode())
    done = prep("shards", "--source", small_source.directory, "--out", f"{s3.url}/set", status=1)
    assert "process 7 on elsewhere works there" in done.stderr


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--out", "https://host/set"), "a web server is read only"),
        (("--work", "w"), "--work is for an --out in a store"),
    ],
)
def test_what_cannot_be(prep: Any, tmp_path: Path, words: tuple[str, ...], line: str) -> None:
    done = prep("shards", "--source", tmp_path, *words, status=1 if "https" in words[1] else 2)
    assert line in done.stderr
