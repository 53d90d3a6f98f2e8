"""Reads at the right place with few open files, checks of bytes, and decoding that refuses what it must."""

import os
import random
import threading
import zlib
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from alexnet_stream.reader import BadSampleError, LocalShards, ShardFiles, check_crc32, decode_into


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    paths = []
    for number in range(20):
        path = tmp_path / str(number)
        path.write_bytes(np.random.default_rng(number).bytes(5000))
        paths.append(str(path))
    return paths


class FewShards(LocalShards):
    """Shards of which six may be open at once."""

    @property
    def max_open(self) -> int:
        return 6


def open_descriptors(directory: Path) -> int:
    links = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # another thread closed it meanwhile
            links.append(str(entry.readlink()))
    return sum(link.startswith(str(directory)) for link in links)


def test_many_threads_few_files(tmp_path: Path, files: list[str]) -> None:
    shards, most, wrong = ShardFiles(FewShards(tuple(files))), [0], []
    contents = [Path(path).read_bytes() for path in files]

    def work(seed: int) -> None:
        draw = random.Random(seed)
        for _ in range(400):
            shard, offset = draw.randrange(20), draw.randrange(4000)
            if shards.read(shard, offset, 1000) != contents[shard][offset : offset + 1000]:
                wrong.append(shard)
            most[0] = max(most[0], open_descriptors(tmp_path))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert 1 <= most[0] <= 6
    shards.close()
    assert open_descriptors(tmp_path) == 0


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
