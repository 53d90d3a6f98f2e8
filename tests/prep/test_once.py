"""A source read once gives the bytes of one read in place: whoever is killed, whatever rots, however many workers."""

import gzip
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import zstandard

from alexnet_command.progress import Progress
from alexnet_pixels.recipe import PixelRecipe
from alexnet_prep import engine, order, part
from alexnet_prep.errors import SourceError
from alexnet_prep.fields import Fields
from alexnet_prep.pipeline import make_shards
from alexnet_prep.progress import RunProgress
from alexnet_prep.request import ShardsRequest
from alexnet_prep.share import Share
from alexnet_prep.statistics import compute_stats
from alexnet_shards import processes

SMALL_STRETCHES = (
    "import alexnet_prep.order as order, alexnet_prep.part as part; order.SMALLEST_BYTES = 64 << 10; "
    "part.PART_BYTES = 200_000; from alexnet_prep.cli import main; main()"
)


def hashes(out: Path) -> dict[str, str]:
    """sha256 of every file a user is promised: shards, index, manifest, statistics."""
    paths = [path for path in sorted(out.iterdir()) if path.is_file() and not path.name.startswith(".")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.fixture(autouse=True)
def small_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several stretches and parts of the small source; processes of the command have SMALL_STRETCHES."""
    monkeypatch.setattr(order, "SMALLEST_BYTES", 64 << 10)
    monkeypatch.setattr(part, "PART_BYTES", 200_000)


def make(source: Path, out: Path, read: str, **more: Any) -> list[dict[str, Any]]:
    """Shards by the pipeline in this process; returns the reports."""
    words = {"split": "all", "num_shards": 6, "workers": 2, "hang_seconds": 60.0, "stats": True, **more}
    with Progress("shards", "images", quiet=True) as progress:
        return make_shards(
            ShardsRequest(
                source=source,
                out=out,
                edition="auto",
                seed=0,
                label_order=None,
                recipe=PixelRecipe(),
                read=read,
                **words,
            ),
            RunProgress(progress),
        )


@pytest.fixture
def source(small_source: Any) -> Path:
    """The small source with 6 images in the test split, and a file without ending in val."""
    directory: Path = small_source.directory
    (directory / "ILSVRC2010_test_ground_truth.txt").write_text("3\n1\n2\n1\n1\n2\n")
    return directory


def without_time(reports: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Reports without the one figure that no two runs share."""
    return [{name: value for name, value in report.items() if name != "images_per_second"} for report in reports]


def test_the_same_bytes_as_in_place(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    splits = {"split": "train"}
    in_place = make(source, tmp_path / "in-place", "in-place", **splits)
    for workers in (1, 2):
        once = make(source, tmp_path / f"once{workers}", "once", workers=workers, **splits)
        assert without_time(once) == without_time(in_place)
        assert hashes(tmp_path / f"once{workers}") == hashes(tmp_path / "in-place")
        assert not list((tmp_path / f"once{workers}" / ".build").rglob("stretch-*"))
        assert not list((tmp_path / f"once{workers}" / ".build").rglob("*.sums.npz"))
    stats = tmp_path / "in-place" / "stats.npz"
    compute_stats([str(tmp_path / "in-place" / "train-*.tar")], tmp_path / "computed.npz", 1, lambda *_: None)
    assert stats.read_bytes() == (tmp_path / "computed.npz").read_bytes()


def test_workers_are_started_once_for_all_splits_and_passes(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []

    def start_child(*words: Any, **more: Any) -> Any:
        started.append(words)
        return processes.start_child(*words, **more)

    monkeypatch.setattr(engine, "start_child", start_child)
    make(source, tmp_path / "once", "once", num_shards=3)
    assert len(started) == 2
    make(source, tmp_path / "in-place", "in-place", num_shards=3)
    assert len(started) == 4
    assert hashes(tmp_path / "once") == hashes(tmp_path / "in-place")


def test_real_photos_with_patches_drops_and_conversions(data_dir: Path, tmp_path: Path) -> None:
    words = {"split": "train", "num_shards": 3, "stats": False}
    in_place = make(data_dir / "ilsvrc2010", tmp_path / "in-place", "in-place", **words)
    once = make(data_dir / "ilsvrc2010", tmp_path / "once", "once", **words)
    assert without_time(once) == without_time(in_place)
    assert once[0]["patched"] == 3
    assert len(once[0]["dropped"]) == 2
    assert hashes(tmp_path / "once") == hashes(tmp_path / "in-place")


def test_folders(tmp_path: Path, photo_bytes: Callable[..., bytes]) -> None:
    for number in range(24):
        path = tmp_path / "photos" / "train" / f"c{number % 3}" / "deep" / f"p{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo_bytes(number) if number != 5 else b"no picture")
    for way in ("in-place", "once"):
        make(tmp_path / "photos", tmp_path / way, way)
    assert hashes(tmp_path / "once") == hashes(tmp_path / "in-place")


@pytest.mark.parametrize(("kind", "place"), [("parquet", ""), ("tars", "json:label")])
def test_parquet_files_and_webdataset_tars(same_sources: Any, tmp_path: Path, kind: str, place: str) -> None:
    words = {"split": "train", "num_shards": 3, "fields": Fields.parse("", place)}
    in_place = make(same_sources.directory / kind, tmp_path / "in-place", "in-place", **words)
    once = make(same_sources.directory / kind, tmp_path / "once", "once", **words)
    assert without_time(once) == without_time(in_place)
    assert len(once[0]["dropped"]) == 1
    assert hashes(tmp_path / "once") == hashes(tmp_path / "in-place")


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Callable[[Path], str]]:
    """Serves a folder by python's own web server, which knows no ranges; returns its address."""
    servers = []

    def serve(folder: Path) -> str:
        class Handler(SimpleHTTPRequestHandler):
            def __init__(self, *rest: Any) -> None:
                super().__init__(*rest, directory=str(folder))

            def log_message(self, format: str, *words: Any) -> None:
                """Quiet."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def test_compressed_and_remote_archives(source: Path, tmp_path: Path, web: Callable[[Path], str], prep: Any) -> None:
    in_place = make(source, tmp_path / "in-place", "in-place", split="train")
    archive = source / "ILSVRC2010_images_train.tar"
    content, elsewhere = archive.read_bytes(), tmp_path / "elsewhere"
    elsewhere.mkdir()
    archive.rename(elsewhere / archive.name)
    forms: dict[str, Callable[[], bytes]] = {
        ".gz": lambda: gzip.compress(content, 1),
        ".zst": lambda: zstandard.ZstdCompressor(1).compress(content),
        ".url": lambda: f"{web(elsewhere)}/{archive.name}\n".encode(),
    }
    for form, form_bytes in forms.items():
        path = archive.with_name(archive.name + form)
        path.write_bytes(form_bytes())
        assert without_time(make(source, tmp_path / form, "auto", split="train")) == without_time(in_place)
        assert hashes(tmp_path / form) == hashes(tmp_path / "in-place"), form
        words = ("shards", "--source", source, "--split", "train", "--out", tmp_path / "no", "--read", "in-place")
        assert "can only be read forward: use --read once" in prep(*words, status=1).stderr
        path.unlink()


def test_links_holes_and_odd_names(source: Path, tmp_path: Path, photo_bytes: Callable[..., bytes]) -> None:
    """What GNU tar stores as links and files with holes is read where it lies, whoever takes it down."""
    folder = tmp_path / "val"
    folder.mkdir()
    for number in range(1, 5):
        name = f"ILSVRC2010_val_{number:08d}.JPEG" if number != 2 else "ILSVRC2010_val_00000002.x"
        (folder / name).write_bytes(photo_bytes(number))
    os.link(folder / "ILSVRC2010_val_00000001.JPEG", folder / "ILSVRC2010_val_00000005.JPEG")
    with (folder / "ILSVRC2010_val_00000006.JPEG").open("wb") as file:
        file.write(photo_bytes(6))
        file.truncate(file.tell() + (1 << 20))
    (folder / "notes.txt").write_text("no picture")
    archive = source / "ILSVRC2010_images_val.tar"
    command = ["tar", "--sparse", "-cf", str(archive), "-C", str(tmp_path), "val"]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("GNU tar is not here")
    reports = [make(source, tmp_path / way, way, split="val", num_shards=2) for way in ("in-place", "once")]
    assert without_time(reports[0]) == without_time(reports[1])
    assert reports[0][0]["members"] == 6
    assert hashes(tmp_path / "once") == hashes(tmp_path / "in-place")


def test_rot_in_any_stretch_is_made_again(source: Path, tmp_path: Path) -> None:
    make(source, tmp_path / "in-place", "in-place", split="train")
    for kinds in (("pictures", "blocks", "json"), ("grouped",)):
        out = tmp_path / kinds[0]
        stop_at(out, source, kinds[0])
        for number, kind in enumerate(kinds):
            path = sorted((out / ".build" / "train").glob(f"stretch-*.{kind}"))[number]
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 4
            path.write_bytes(content)
        make(source, out, "once", split="train")
        assert hashes(out) == hashes(tmp_path / "in-place"), kinds


def stop_at(out: Path, source: Path, kind: str) -> None:
    """Run in this process until the first file of a kind is there, which is all that is then left of the run."""

    class Stop(Exception):
        """The end."""

    class Stopping(RunProgress):
        """Stops after the pass that writes the kind."""

        def begin(self, split: str, total: int, unit: str = "images", pieces: str = "shards") -> None:
            """Stop before the next pass."""
            super().begin(split, total, unit, pieces)
            if list(out.glob(f".build/train/stretch-*.{kind}")):
                raise Stop

    request = ShardsRequest(
        source=source,
        out=out,
        split="train",
        edition="auto",
        num_shards=6,
        workers=2,
        seed=0,
        label_order=None,
        recipe=PixelRecipe(),
        hang_seconds=60.0,
        read="once",
        stats=True,
    )
    with Progress("shards", "images", quiet=True) as progress, pytest.raises(Stop):
        make_shards(request, Stopping(progress))


def test_a_repair_of_a_set_that_was_read_once(source: Path, tmp_path: Path, prep: Any) -> None:
    out = tmp_path / "out"
    make(source, out, "once", split="train")
    first = hashes(out)
    for way in ("in-place", "once"):
        shutil.rmtree(out / ".build")
        path = out / "train-002.tar"
        content = bytearray(path.read_bytes())
        content[3000] ^= 1
        path.write_bytes(content)
        make(source, out, way, split="train")
        assert hashes(out) == first, way
    (out / "train-001.tar").unlink()
    prep("verify", "--shards", out, "--repair", "--source", source)
    assert hashes(out) == first


def test_what_is_wrong_is_said_before_the_source_is_read(source: Path, tmp_path: Path, prep: Any) -> None:
    (source / "ILSVRC2010_devkit-1.0.tar.gz").rename(tmp_path / "devkit")
    with pytest.raises(SourceError, match="devkit"):
        make(source, tmp_path / "out", "once")
    assert not list((tmp_path / "out" / ".build").rglob("stretch-*"))
    (tmp_path / "devkit").rename(source / "ILSVRC2010_devkit-1.0.tar.gz")
    words = ("shards", "--source", source, "--out", tmp_path / "out", "--read", "once", "--split", "train")
    said = prep(*words).stderr
    assert "train: read once, in its own order (as --read says): about " in said
    assert "of memory a worker" in said
    done = prep(*words, "--seed", 1, status=1)
    assert "another seed (there 0, wanted 1)" in done.stderr
    assert "reading once" not in done.stderr
    archive = source / "ILSVRC2010_images_train.tar"
    archive.write_bytes(archive.read_bytes()[:50_000])
    done = prep(*words[:-2], "--out", tmp_path / "cut", status=1)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert "truncated" in line


def start(source: Path, out: Path) -> subprocess.Popen[bytes]:
    """A run in small stretches, in a process group of its own."""
    words = ["shards", "--source", str(source), "--out", str(out), "--split", "train", "--num-shards", "6"]
    command = [sys.executable, "-c", SMALL_STRETCHES, *words, "--workers", "2", "--json", "--read", "once", "--stats"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def kill_often(source: Path, tmp_path: Path, kills: int) -> None:
    """SIGKILL runs and workers at random moments of as many runs, then compare with a run in place."""
    make(source, tmp_path / "undisturbed", "in-place", split="train")
    rng, done, out = random.Random(0), 0, tmp_path / "killed"
    began = time.perf_counter()
    assert start(source, out).wait(240) == 0
    whole_seconds = time.perf_counter() - began  # on this machine, as busy as it is
    shutil.rmtree(out)
    while done < kills:
        process = start(source, out)
        time.sleep(rng.uniform(0.1, 0.9) * whole_seconds)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        workers = [int(child) for child in children.read_text().split()] if process.poll() is None else []
        if process.poll() is None:
            os.kill(rng.choice(workers) if workers and done % 3 == 2 else process.pid, signal.SIGKILL)
            done += 1
        elif done < kills:  # it was whole before its turn
            assert process.returncode == 0
            assert hashes(out) == hashes(tmp_path / "undisturbed")
            shutil.rmtree(out)
        process.wait(240)
    assert start(source, out).wait(240) == 0
    assert hashes(out) == hashes(tmp_path / "undisturbed")
    assert not list(out.rglob("*.tmp"))
    assert not list(out.rglob("stretch-*"))


def test_sigkill_at_some_moments(source: Path, tmp_path: Path) -> None:
    kill_often(source, tmp_path, 3)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_sigkill_thirty_times(source: Path, tmp_path: Path) -> None:
    kill_often(source, tmp_path, 30)


def test_a_full_disk_is_one_line_and_the_run_goes_on(
    source: Path, mount_disk: Callable[[int], Path], tmp_path: Path, prep: Any
) -> None:
    disk = mount_disk(2000 << 10)
    (disk / "ballast").write_bytes(bytes(1_100_000))
    words = ("shards", "--source", source, "--split", "train", "--num-shards", 6, "--read", "once", "--stats", "--json")
    done = prep(*words, "--out", disk / "out", status=1)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert "disk is full" in line or "are needed" in line
    assert not list(disk.rglob("*.tmp"))
    (disk / "ballast").unlink()
    prep(*words[:-2], "--json", "--out", disk / "out")
    make(source, tmp_path / "roomy", "in-place", split="train", stats=False)
    assert hashes(disk / "out") == hashes(tmp_path / "roomy")


POISON = """
import os, time
from alexnet_prep import build, worker
real_convert = build.convert
def convert(source, recipe):
    if source.endswith(b"DIE"):
        os._exit(7)
    return real_convert(source, recipe)
def poisoned_main(connection, setup, parent_pid):
    build.convert = convert
    worker.worker_main(connection, setup, parent_pid)
"""


def test_an_image_that_kills_workers_is_given_up_as_in_place(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tar_bytes: Any, photo_bytes: Callable[..., bytes]
) -> None:
    (tmp_path / "poison_once.py").write_text(POISON)
    monkeypatch.syspath_prepend(tmp_path)
    import poison_once  # type: ignore[import-not-found]

    members = [(f"n00000001_{n}.JPEG", photo_bytes(n) + (b"DIE" if n == 4 else b"")) for n in range(8)]
    inner = [("n00000001.tar", tar_bytes(members))]
    (source / "ILSVRC2010_images_train.tar").write_bytes(tar_bytes(inner))
    monkeypatch.setattr("alexnet_prep.engine.Engine.__init__.__defaults__", (poison_once.poisoned_main,))
    reports = [make(source, tmp_path / way, way, split="train", num_shards=2) for way in ("in-place", "once")]
    reason = "quarantined: 3 workers died (exit status 7) on it"
    assert reports[0][0]["dropped"] == [{"key": "n00000001_4", "reason": reason}]
    assert without_time(reports[0]) == without_time(reports[1])
    assert hashes(tmp_path / "once") == hashes(tmp_path / "in-place")
    manifest = json.loads((tmp_path / "once" / "train.manifest.json").read_text())
    assert manifest["report"]["given_up"] == ["n00000001_4"]
    monkeypatch.undo()
    again = make(source, tmp_path / "once", "once", split="train", num_shards=2)
    assert again[0]["written"] == 8
    assert again[0]["dropped"] == []


@pytest.mark.parametrize("is_packed", [False, True])
def test_parts_with_an_image_that_kills_workers_are_joined(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tar_bytes: Any,
    photo_bytes: Callable[..., bytes],
    is_packed: bool,
) -> None:
    (tmp_path / "poison_parts.py").write_text(POISON)
    monkeypatch.syspath_prepend(tmp_path)
    import poison_parts  # type: ignore[import-not-found]

    members = [(f"n00000001_{n}.JPEG", photo_bytes(n) + (b"DIE" if n == 4 else b"")) for n in range(8)]
    archive, content = source / "ILSVRC2010_images_train.tar", tar_bytes([("n00000001.tar", tar_bytes(members))])
    archive.write_bytes(content)
    if is_packed:
        archive.rename(archive.with_name(archive.name + ".gz")).write_bytes(gzip.compress(content, 1))
    monkeypatch.setattr("alexnet_prep.engine.Engine.__init__.__defaults__", (poison_parts.poisoned_main,))
    words = {"split": "train", "num_shards": 2, "stats": False}
    make(source, tmp_path / "out", "once", share=Share(1, 1), **words)
    report = make(source, tmp_path / "out", "auto", finish=True, **words)[0]
    assert (report["written"], report["dropped"][0]["key"]) == (7, "n00000001_4")
