"""Reads at the right place with few open files, checks of bytes, and decoding that refuses what it must."""

import errno
import os
import random
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from alexnet_remote.outcome import LocalTroubleError
from alexnet_stream.reader import BadSampleError, LocalShards, ShardFiles, check_crc32, decode_into


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    paths = []
    for number in range(20):
        path = tmp_path / str(number)
        path.write_bytes(np.random.default_rng(number).bytes(5000))
        paths.append(str(path))
    return paths


class FewShards:
    """Shards of which six may be open at once; `most` is how many were.

    Opening and closing are each one step with their count: a listing of /proc is not of one moment.
    """

    max_open = max_idle = 6

    def __init__(self, paths: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.paths, self.most = paths, 0
        self.now: set[int] = set()
        self._one_step, self._close = threading.Lock(), os.close
        monkeypatch.setattr(os, "close", self._counted_close)

    def name(self, shard: int) -> str:
        return self.paths[shard]

    def open(self, shard: int) -> int:
        with self._one_step:
            descriptor = os.open(self.paths[shard], os.O_RDONLY | os.O_CLOEXEC)
            self.now.add(descriptor)
            self.most = max(self.most, len(self.now))
        return descriptor

    def repair(self, shard: int) -> bool:
        return False

    def _counted_close(self, descriptor: int) -> None:
        with self._one_step:
            self._close(descriptor)
            self.now.discard(descriptor)


class SlowShards(LocalShards):
    """Shards of which the first takes long to open; counts the openings under way and those that were made."""

    opening = threading.Event()
    go_on = threading.Event()

    def open(self, shard: int) -> int:
        if shard == 0:
            self.opening.set()
            assert self.go_on.wait(60)
        return super().open(shard)


class FailingShards(LocalShards):
    """Shards that the system refuses to open, by `number`."""

    number = 0

    def open(self, shard: int) -> int:
        raise OSError(self.number, os.strerror(self.number), self.paths[shard])


def test_many_threads_few_files(files: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    source, wrong = FewShards(files, monkeypatch), []
    shards = ShardFiles(source)
    contents = [Path(path).read_bytes() for path in files]

    def work(seed: int) -> None:
        draw = random.Random(seed)
        for _ in range(400):
            shard, offset = draw.randrange(20), draw.randrange(4000)
            if shards.read(shard, offset, 1000) != contents[shard][offset : offset + 1000]:
                wrong.append(shard)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert source.most == 6
    shards.close()
    assert not source.now


def test_a_read_does_not_wait_for_another_shard_to_open(files: list[str]) -> None:
    """One that is opened may be a download of minutes."""
    shards = ShardFiles(SlowShards(tuple(files)))
    with ThreadPoolExecutor(3) as pool:
        slow = [pool.submit(shards.read, 0, 0, 1000) for _ in range(2)]
        assert SlowShards.opening.wait(60)
        for shard in range(1, 20):
            assert shards.read(shard, 0, 1000) == Path(files[shard]).read_bytes()[:1000]
        assert not any(future.done() for future in slow)
        SlowShards.go_on.set()
        assert {future.result() for future in slow} == {Path(files[0]).read_bytes()[:1000]}
    shards.close()


def test_whoever_holds_shards_does_not_wait_for_room(files: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty shards in one call, six places, four threads: some are left to be read alone, nobody waits for ever."""
    source, opened = FewShards(files, monkeypatch), [0]
    shards = ShardFiles(source)

    def work(seed: int) -> None:
        for number in range(50):
            chosen = random.Random(100 * seed + number).sample(range(20), 20)
            with shards.held(chosen) as descriptors:
                for shard, descriptor in zip(chosen, descriptors, strict=True):
                    if descriptor >= 0:
                        opened[0] += 1
                        assert os.pread(descriptor, 100, 0) == Path(files[shard]).read_bytes()[:100]
            assert len(shards.read(chosen[0], 0, 100)) == 100

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert source.most == 6
    assert opened[0] >= 200
    shards.close()
    assert not source.now


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES, errno.ESTALE, errno.EPERM])
def test_the_environment_is_not_the_sample(files: list[str], number: int) -> None:
    source = FailingShards(tuple(files))
    object.__setattr__(source, "number", number)
    shards = ShardFiles(source)
    with shards.held([0, 1]) as descriptors:
        assert descriptors == [-1, -1]
    with pytest.raises(LocalTroubleError, match=rf"^{files[3]}: {os.strerror(number)}; [^\n]*$"):
        shards.read(3, 0, 10)


def test_files_that_nobody_reads_give_way(files: list[str], open_files: Callable[[], int]) -> None:
    """Where the table of open files is full of them, the next is opened nevertheless."""

    class FullTable(LocalShards):
        def open(self, shard: int) -> int:
            if open_files() >= 3:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), self.paths[shard])
            return super().open(shard)

    shards = ShardFiles(FullTable(tuple(files)))
    for shard in range(20):
        assert len(shards.read(shard, 0, 10)) == 10
    shards.close()


def test_a_file_that_its_server_has_replaced_is_opened_again(files: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    shards, read = ShardFiles(LocalShards(tuple(files))), os.pread
    assert len(shards.read(0, 0, 10)) == 10
    stale = [errno.ESTALE]

    def pread(descriptor: int, size: int, offset: int) -> bytes:
        if stale:
            raise OSError(stale.pop(), "Stale file handle")
        return read(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", pread)
    assert shards.read(0, 0, 10) == Path(files[0]).read_bytes()[:10]
    assert not stale
    shards.close()


def test_many_threads_and_few_open_files_replace_no_sample(tmp_path: Path, make_shards: Callable[..., str]) -> None:
    """A process with 64 threads that may open 128 files, as `ulimit -n 128` has it: no sound sample is quarantined."""
    pattern = make_shards(tmp_path / "set", (1,) * 96)
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (96, 96))\n"
        "from alexnet_stream import Stream, StreamConfig, open_shards\n"
        "config = StreamConfig(batch_size=96, seed=0, threads=64, quarantine=96)\n"
        "with Stream(open_shards([sys.argv[1]]), config) as stream:\n"
        "    for _ in range(3):\n"
        "        (batch,) = stream.epoch()\n"
        "        assert sorted(batch.rows.tolist()) == list(range(96))\n"
        "    assert stream.meters['quarantined'] == 0\n"
    )
    subprocess.run([sys.executable, "-c", program, pattern], check=True, timeout=200)


def test_readers_that_nobody_closes_leave_no_file_open(files: list[str], open_files: Callable[[], int]) -> None:
    for _ in range(3):
        opened = ShardFiles(LocalShards(tuple(files)))
        assert [len(opened.read(shard, 0, 4)) for shard in range(len(files))] == [4] * len(files)
        assert open_files() == len(files)
        del opened
        assert open_files() == 0


def test_short_and_missing(tmp_path: Path, files: list[str]) -> None:
    shards = ShardFiles(LocalShards((*files, str(tmp_path / "missing"))))
    with pytest.raises(BadSampleError, match="ends at byte 5000, expected 5001"):
        shards.read(3, 4990, 11)
    with pytest.raises(BadSampleError, match="cannot be opened"):
        shards.read(20, 0, 1)
    assert len(shards.read(3, 4990, 10)) == 10
    shards.close()


def test_a_shard_that_shrinks_is_an_error(files: list[str]) -> None:
    shards = ShardFiles(LocalShards(tuple(files)))
    assert len(shards.read(0, 4000, 1000)) == 1000
    os.truncate(files[0], 100)
    with pytest.raises(BadSampleError, match="truncated"):
        shards.read(0, 4000, 1000)
    shards.close()


def test_crc32() -> None:
    check_crc32(b"content", zlib.crc32(b"content"))
    for bit in range(56):
        changed = (int.from_bytes(b"content", "big") ^ (1 << bit)).to_bytes(7, "big")
        with pytest.raises(BadSampleError, match="crc32"):
            check_crc32(changed, zlib.crc32(b"content"))


def test_decoding_agrees_with_pillow(tmp_path: Path, draw_tools: SimpleNamespace) -> None:
    image_hwc = np.empty((256, 256, 3), np.uint8)
    for seed in range(4):
        jpeg = draw_tools.encode(draw_tools.draw_image(seed))
        decode_into(jpeg, image_hwc)
        (tmp_path / "x.jpg").write_bytes(jpeg)
        reference_hwc = np.asarray(Image.open(tmp_path / "x.jpg"))
        # Two builds of libjpeg round alike up to a level or two.
        assert np.abs(image_hwc.astype(int) - reference_hwc.astype(int)).max() <= 2


def test_grey_images_become_rgb(tmp_path: Path) -> None:
    Image.fromarray(np.full((256, 256), 90, np.uint8)).save(tmp_path / "grey.jpg")
    image_hwc = np.zeros((256, 256, 3), np.uint8)
    decode_into((tmp_path / "grey.jpg").read_bytes(), image_hwc)
    assert (image_hwc == 90).all()


@pytest.mark.parametrize(
    ("height_px", "width_px"), [(255, 256), (256, 257), (300, 300), (128, 512), (512, 128), (1, 1)]
)
def test_other_sizes_are_refused(draw_tools: SimpleNamespace, height_px: int, width_px: int) -> None:
    jpeg = draw_tools.encode(draw_tools.draw_image(0, height_px, width_px))
    with pytest.raises(
        BadSampleError, match=rf"{width_px}x{height_px} pixels, expected 256x256; .*alexnet-prep shards"
    ):
        decode_into(jpeg, np.empty((256, 256, 3), np.uint8))


def test_damage_is_refused(draw_tools: SimpleNamespace) -> None:
    jpeg = draw_tools.encode(draw_tools.draw_image(0))
    for bad in (b"", b"garbage" * 100, jpeg[:2], jpeg[:200], jpeg[: len(jpeg) // 2], jpeg[:-2]):
        with pytest.raises(BadSampleError):
            decode_into(bad, np.empty((256, 256, 3), np.uint8))
