"""The stream: every sample once, the same pixels for any ranks and threads, and exact resume from everywhere."""

import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import simplejpeg
import webdataset
from hypothesis import example, given, settings
from hypothesis import strategies as st

from alexnet_shards.errors import AlexnetError
from alexnet_shards.index import load_index, save_index
from alexnet_shards.manifest import load_manifest, save_manifest
from alexnet_shards.shardset import ShardSet, open_shards
from alexnet_stream.epoch import epoch_table
from alexnet_stream.stream import Batch, Stream, StreamConfig

Sample = tuple[int, int, bytes, bool, bytes]
SIZES = (7, 5, 9)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory, make_shards: Callable[..., str]) -> ShardSet:
    return open_shards([make_shards(tmp_path_factory.mktemp("shards"), SIZES)])


def samples(batch: Batch) -> list[Sample]:
    """(row, label, pixels, flip, noise) of every valid sample."""
    columns = (batch.rows, batch.labels, batch.images_nhwc, batch.flip, batch.noise_z, batch.valid)
    return [
        (int(row), int(label), image.numpy().tobytes(), bool(flip), noise.numpy().tobytes())
        for row, label, image, flip, noise, valid in zip(*columns, strict=True)
        if valid
    ]


def stream_epoch(shards: ShardSet, config: StreamConfig, state: dict[str, int] | None = None) -> list[list[Sample]]:
    with Stream(shards, config) as stream:
        if state:
            stream.load_state_dict(state)
        return [samples(batch) for batch in stream.epoch()]


def reference_epoch(shards: ShardSet, config: StreamConfig, epoch: int = 0) -> list[Sample]:
    """The epoch's samples in their order, one at a time, from the table, whole decodes and plain slices."""
    table = epoch_table(shards.num_samples, config.seed, epoch, shuffle=config.shuffle, crop=config.crop)
    result = []
    for place, row in enumerate(table.rows.tolist()):
        entry = shards.rows[row]
        content = Path(shards.paths[entry["shard"]]).read_bytes()
        image_hwc = simplejpeg.decode_jpeg(content[entry["offset"] : entry["offset"] + entry["size"]], "RGB")
        if config.crop != "none":
            top, left = int(table.crop_top_px[place]), int(table.crop_left_px[place])
            image_hwc = image_hwc[top : top + 224, left : left + 224]
        noise = table.noise_z[place].tobytes()
        result.append((row, int(entry["label"]), image_hwc.tobytes(), config.flip and bool(table.flip[place]), noise))
    return result


def flat(batches: list[list[Sample]]) -> list[Sample]:
    return [sample for batch in batches for sample in batch]


def dealt(parts: list[list[list[Sample]]]) -> list[Sample]:
    """The samples of all ranks, batch by batch, in rank order."""
    return [sample for step in zip(*parts, strict=True) for part in step for sample in part]


CROPS = [("random", True), ("random", False), ("centre", True), ("none", True)]


@pytest.mark.parametrize(
    ("crop", "flip", "shuffle", "child_process"),
    [
        *((*crop, shuffle, False) for crop in CROPS for shuffle in (True, False)),
        ("random", True, True, True),
        ("none", True, False, True),  # a process of its own does the same; these two are its two shapes
    ],
)
def test_pixels_equal_a_slow_reference(
    shards: ShardSet, crop: Literal["random", "centre", "none"], flip: bool, shuffle: bool, child_process: bool
) -> None:
    config = replace(StreamConfig(batch_size=4, seed=11, last="keep", threads=2), crop=crop, flip=flip)
    config = replace(config, shuffle=shuffle, child_process=child_process)
    assert flat(stream_epoch(shards, config)) == reference_epoch(shards, config)


@pytest.mark.parametrize("last", ["drop", "keep", "pad"])
@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("threads", [1, 3])
def test_ranks_and_threads_do_not_matter(shards: ShardSet, last: Any, world_size: int, threads: int) -> None:
    """8 does not divide by 3, 21 does not divide by 8: parts are uneven, the samples are the same."""
    config = StreamConfig(batch_size=8, seed=4, last=last, threads=threads)
    expected = reference_epoch(shards, config)[: 16 if last == "drop" else 21]
    ranks = [replace(config, rank=rank, world_size=world_size) for rank in range(world_size)]
    parts = [stream_epoch(shards, rank) for rank in ranks]
    assert {len(part) for part in parts} == {2 if last == "drop" else 3}
    assert dealt(parts) == expected


@settings(max_examples=40, deadline=None)
@example(batch_size=8, world_size=5, last="keep", position=6)  # a rank whose last part is larger than its full ones
@example(batch_size=8, world_size=5, last="pad", position=6)
@given(
    batch_size=st.integers(1, 25),
    world_size=st.integers(1, 6),
    last=st.sampled_from(["drop", "keep", "pad"]),
    position=st.integers(0, 20),
)
def test_exactly_once(shards: ShardSet, batch_size: int, world_size: int, last: Any, position: int) -> None:
    """From any position on, as a change of the batch size may leave it."""
    left = 21 - position
    if world_size > batch_size or (last == "drop" and batch_size > left):
        return
    config = StreamConfig(batch_size=batch_size, seed=1, world_size=world_size, last=last, threads=1)
    streams = [Stream(shards, replace(config, rank=rank)) for rank in range(world_size)]
    rows, sizes = [], []
    for stream in streams:
        with stream:
            stream.load_state_dict({"epoch": 0, "position": position})
            batches = [(batch.rows.clone(), batch.valid.clone()) for batch in stream.epoch()]
        assert len(batches) == (left // batch_size if last == "drop" else -(-left // batch_size))
        assert position or len(batches) == stream.steps_per_epoch
        rows += [int(row) for batch, valid in batches for row in batch[valid]]
        sizes.append([len(batch) for batch, _ in batches])
    whole = left // batch_size * batch_size if last == "drop" else left
    assert len(rows) == len(set(rows)) == whole
    assert set(rows) <= set(epoch_table(21, 1, 0).rows[position:].tolist())
    if last == "pad":
        assert all(len(set(size)) == 1 for size in sizes)
        assert sum(size[0] for size in sizes) == batch_size


def test_nothing_is_left_out_unless_asked(shards: ShardSet) -> None:
    with Stream(shards, StreamConfig(batch_size=8, seed=1)) as stream:
        for _ in range(2):
            rows = [batch.rows.tolist() for batch in stream.epoch()]
            assert [len(part) for part in rows] == [8, 8, 5]
            assert sorted(row for part in rows for row in part) == list(range(21))


def test_orders_of_epochs(shards: ShardSet) -> None:
    config = StreamConfig(batch_size=7, seed=1)
    with Stream(shards, config) as stream:
        epochs = [flat([samples(batch) for batch in stream.epoch()]) for _ in range(3)]
    for epoch, content in enumerate(epochs):
        assert content == reference_epoch(shards, config, epoch)
    assert len({tuple(sample[0] for sample in epoch) for epoch in epochs}) == 3


@pytest.mark.parametrize("last", ["drop", "keep", "pad"])
def test_resume_at_every_position(shards: ShardSet, last: Any) -> None:
    config = StreamConfig(batch_size=4, seed=2, last=last, threads=2)
    with Stream(shards, config) as stream:
        whole, states = [], [stream.state_dict()]
        for _ in range(2):
            for batch in stream.epoch():
                whole.append(samples(batch))
                states.append(stream.state_dict())
    steps = 5 if last == "drop" else 6
    assert states[steps].items() >= {"epoch": 1, "position": 0}.items()
    assert states[1].items() >= {"epoch": 0, "position": 4}.items()
    for taken, state in enumerate(states[:-1]):
        rest = stream_epoch(shards, config, state)
        assert rest == whole[taken : steps if taken < steps else 2 * steps]


def test_world_size_and_batch_size_may_change_in_the_middle(shards: ShardSet) -> None:
    config = StreamConfig(batch_size=3, seed=2, last="keep")
    expected = reference_epoch(shards, config)
    with Stream(shards, replace(config, world_size=3, rank=1)) as stream:
        batches = stream.epoch()
        next(batches), next(batches)
        state = stream.state_dict()
        assert place(stream) == {"epoch": 0, "position": 6}
    changed = replace(config, batch_size=4, world_size=2)
    parts = [stream_epoch(shards, replace(changed, rank=rank), state) for rank in range(2)]
    assert dealt(parts) == expected[6:]


def place(stream: Stream) -> dict[str, int]:
    state = stream.state_dict()
    return {name: state[name] for name in ("epoch", "position")}


def test_only_batches_taken_count(shards: ShardSet) -> None:
    with Stream(shards, StreamConfig(batch_size=2, seed=2)) as stream:
        batches = stream.epoch()
        assert place(stream) == {"epoch": 0, "position": 0}
        first = samples(next(batches))
        assert place(stream) == {"epoch": 0, "position": 2}
        again = stream.epoch()
        second = samples(next(again))
        assert [*first, *second] == reference_epoch(shards, StreamConfig(batch_size=2, seed=2))[:4]
        with pytest.raises(RuntimeError, match="iterated anew"):
            next(batches)
        assert place(stream) == {"epoch": 0, "position": 4}


@pytest.mark.parametrize("child_process", [False, True])
def test_an_iterator_that_is_left_takes_nothing_from_the_next(shards: ShardSet, child_process: bool) -> None:
    config = StreamConfig(batch_size=2, seed=2, threads=2, child_process=child_process)
    expected = reference_epoch(shards, config)
    with Stream(shards, config) as stream:
        left = stream.epoch()
        first = next(left)
        seen = samples(first)
        again = stream.epoch()
        second = next(again)
        seen += samples(second)
        assert samples(first) + samples(second) == expected[:4]  # the batch at hand is not written over
        left.close()  # type: ignore[attr-defined]
        seen += [sample for batch in again for sample in samples(batch)]
    assert seen == expected


def test_without_shuffle_every_iterator_begins_the_epoch_unless_it_was_resumed(shards: ShardSet) -> None:
    config = StreamConfig(batch_size=4, seed=2, shuffle=False)
    with Stream(shards, config) as stream:
        next(iter(stream))  # a look at a batch, as Lightning's sanity check has one
        assert [row for batch in stream for row in batch.rows.tolist()] == list(range(21))
        stream.load_state_dict({"epoch": 1, "position": 8})
        assert [row for batch in stream for row in batch.rows.tolist()] == list(range(8, 21))
        assert place(stream) == {"epoch": 2, "position": 0}


def test_a_batch_that_is_moved_to_shared_memory_leaves_the_ring(shards: ShardSet) -> None:
    config = StreamConfig(batch_size=1, seed=2, threads=1)
    with Stream(shards, config) as stream:
        seen = []
        for batch in stream.epoch():
            batch.images_nhwc.share_memory_()  # type: ignore[no-untyped-call]  # as a queue between processes does
            seen += samples(batch)
    assert seen == reference_epoch(shards, config)


@pytest.mark.parametrize("child_process", [False, True])
def test_buffers_stay_valid_until_the_next_but_one(shards: ShardSet, child_process: bool) -> None:
    config = StreamConfig(batch_size=1, seed=2, last="keep", threads=2, child_process=child_process)
    with Stream(shards, config) as stream:
        kept: list[tuple[Batch, list[Sample]]] = []
        for _ in range(2):
            for batch in stream.epoch():
                kept.append((batch, samples(batch)))
                assert all(samples(old) == content for old, content in kept[-2:])
        first = kept[0][0].images_nhwc.data_ptr()
        assert len({batch.images_nhwc.data_ptr() for batch, _ in kept}) < len(kept)
        assert any(batch.images_nhwc.data_ptr() == first for batch, _ in kept[1:])


def test_padding_is_black_and_marked(shards: ShardSet) -> None:
    config = StreamConfig(batch_size=16, seed=2, last="pad", crop="none", shuffle=False)
    with Stream(shards, config) as stream:
        *_, last = stream.epoch()
    assert last.images_nhwc.shape == (16, 256, 256, 3)
    assert last.valid.tolist() == [True] * 5 + [False] * 11
    assert last.rows.tolist() == [16, 17, 18, 19, 20] + [-1] * 11
    assert last.labels.tolist()[5:] == [-1] * 11
    assert not last.images_nhwc[5:].any()
    assert last.noise_z.shape == (16, 3)


def test_window_order(shards: ShardSet) -> None:
    """With windows of one shard, the shards come one after the other, in another order each epoch."""
    config = StreamConfig(batch_size=1, seed=3, order="window", window_shards=1, last="keep")
    with Stream(shards, config) as stream:
        orders = []
        for _ in range(6):
            rows = [int(batch.rows[0]) for batch in stream.epoch()]
            assert sorted(rows) == list(range(21))
            of_shard = shards.rows["shard"][rows].tolist()
            assert sum(a != b for a, b in pairwise(of_shard)) == 2
            orders.append(tuple(dict.fromkeys(of_shard)))
    assert len(set(orders)) > 1


# The package leaves its files to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_stock_reader_gives_the_same_set(shards: ShardSet) -> None:
    """(key, label, pixels): the same by the webdataset package and by the stream."""
    stock = set()
    for sample in webdataset.WebDataset(list(shards.paths), shardshuffle=False):
        pixels = simplejpeg.decode_jpeg(sample["jpg"], "RGB").tobytes()
        stock.add((sample["__key__"], int(sample["cls"]), pixels))
    config = StreamConfig(batch_size=5, seed=3, crop="none", last="pad")
    ours = {
        (shards.key_of(row).rpartition(", ")[2], label, pixels)
        for row, label, pixels, _, _ in flat(stream_epoch(shards, config))
    }
    assert ours == stock
    assert len(ours) == 21


def test_meters(shards: ShardSet) -> None:
    with Stream(shards, StreamConfig(batch_size=4, seed=2)) as stream:
        list(stream.epoch())
        meters = stream.meters
    assert (meters["images"], meters["batches"], meters["quarantined"]) == (21, 6, 0)
    assert all(meters[name] > 0 for name in ("decode_seconds", "read_seconds", "wait_seconds"))


def test_a_changed_byte_is_noticed(tmp_path: Path, make_shards: Callable[..., str]) -> None:
    shards = open_shards([make_shards(tmp_path, (4,))])
    entry = shards.rows[2]
    place = int(entry["offset"]) + int(entry["size"]) * 3 // 4
    content = bytearray((tmp_path / "train-000.tar").read_bytes())
    content[place] ^= 4
    (tmp_path / "train-000.tar").write_bytes(content)
    message = (
        rf"^{tmp_path}/train-000.tar, train0002: crc32 [0-9a-f]{{8}}, expected [0-9a-f]{{8}}: .*alexnet-prep verify$"
    )
    for child_process in (False, True):
        config = StreamConfig(batch_size=2, seed=0, last="keep", child_process=child_process)
        with pytest.raises(AlexnetError, match=message), Stream(shards, config) as stream:
            list(stream.epoch())


def test_images_of_another_size(tmp_path: Path, shard_tools: SimpleNamespace, draw_tools: SimpleNamespace) -> None:
    members = [("a.jpg", draw_tools.encode(draw_tools.draw_image(0, 200, 300))), ("a.cls", b"0")]
    shard_tools.write_tar(tmp_path / "train-000.tar", members)
    shard_tools.write_index(tmp_path, "train")
    shards = open_shards([f"{tmp_path}/train-000.tar"])
    with (
        Stream(shards, StreamConfig(batch_size=1, seed=0)) as stream,
        pytest.raises(AlexnetError, match="train-000.tar, a: 300x200 pixels, expected 256x256"),
    ):
        list(stream.epoch())


@pytest.mark.parametrize("state", [{}, {"epoch": 0}, {"epoch": -1, "position": 0}, {"epoch": 0, "position": 22}])
def test_a_state_of_other_shards(shards: ShardSet, state: dict[str, int]) -> None:
    with (
        Stream(shards, StreamConfig(batch_size=4, seed=2)) as stream,
        pytest.raises(AlexnetError, match="not a place in 21 samples"),
    ):
        stream.load_state_dict(state)


CHANGES: list[dict[str, Any]] = [{"seed": 3}, {"shuffle": False}, {"order": "window", "window_shards": 1}]


@pytest.mark.parametrize("change", CHANGES)
def test_a_state_of_another_order_is_refused_in_the_middle_of_an_epoch(
    shards: ShardSet, change: dict[str, Any]
) -> None:
    config = StreamConfig(batch_size=4, seed=2)
    with Stream(shards, config) as stream:
        next(stream.epoch())
        state = stream.state_dict()
    with Stream(shards, replace(config, **change)) as other:
        with pytest.raises(AlexnetError, match="another order"):
            other.load_state_dict(state)
        other.load_state_dict(state | {"position": 0})
        other.load_state_dict({"epoch": 0, "position": 4})  # of before orders were numbered
    with Stream(shards, replace(config, batch_size=3, order="window", window_shards=3)) as same:
        same.load_state_dict(state)


def test_processes_that_would_all_get_the_same_are_told(
    shards: ShardSet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    with Stream(shards, StreamConfig(batch_size=4, seed=2, world_size=2)) as stream:
        list(stream)
    assert not caplog.records
    with Stream(shards, StreamConfig(batch_size=4, seed=2)) as stream:
        list(stream), list(stream)
    assert [record.getMessage()[:39] for record in caplog.records] == ["each of 2 processes gets every sample o"]


def test_shards_that_give_no_batch(shards: ShardSet) -> None:
    with pytest.raises(AlexnetError, match="21 samples are less than one batch of 22"):
        Stream(shards, StreamConfig(batch_size=22, seed=0, last="drop"))


def test_pinned_memory_needs_a_device(shards: ShardSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(AlexnetError, match="no CUDA device"):
        Stream(shards, StreamConfig(batch_size=4, seed=2, pin_memory=True))


def test_closing_in_the_middle_leaves_no_thread(shards: ShardSet) -> None:
    before = threading.enumerate()
    for _ in range(3):
        with Stream(shards, StreamConfig(batch_size=2, seed=2, threads=4)) as stream:
            for batch in stream.epoch():
                assert len(batch.rows) == 2
                break
    assert not set(threading.enumerate()) - set(before)


def test_a_million_samples(shards: ShardSet) -> None:
    """1.28 M entries: 1000 shards' worth of rows that repeat a real shard's."""
    repeated = replace(shards, rows=np.tile(shards.rows[:7], 183_024))
    assert repeated.num_samples == 1_281_168
    with Stream(repeated, StreamConfig(batch_size=16, seed=2, last="keep")) as stream:
        stream.load_state_dict({"epoch": 3, "position": 1_281_168 - 20})
        tail = [int(row) for batch in stream.epoch() for row in batch.rows]
    expected: npt.NDArray[np.int64] = epoch_table(1_281_168, 2, 3).rows[-20:]
    assert tail == expected.tolist()


OPEN_MANY = """
import sys
from pathlib import Path
from alexnet_shards.shardset import open_shards
from alexnet_stream.stream import Stream, StreamConfig

def resident_mb():
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) / 1000

before = resident_mb()
shards = open_shards([sys.argv[1]])
with Stream(shards, StreamConfig(batch_size=16, seed=1, threads=2)) as stream:
    batches = stream.epoch()
    for _ in range(12):
        ring_mb = 4 * next(batches).images_nhwc.nbytes / 1e6
    print(shards.num_samples, resident_mb() - before - ring_mb)
"""


def test_the_memory_of_a_million_samples(tmp_path: Path, make_shards: Callable[..., str]) -> None:
    """Index, labels and epoch table of 1.28 M samples take less than 100 MB above the batches."""
    pattern = make_shards(tmp_path, (7,))
    sha256 = save_index(tmp_path / "train.index.npy", np.tile(load_index(tmp_path / "train.index.npy"), 183_024))
    manifest = load_manifest(tmp_path / "train.manifest.json")
    fact = replace(manifest.shards[0], samples=7 * 183_024)
    save_manifest(tmp_path / "train.manifest.json", replace(manifest, shards=(fact,), index_sha256=sha256))
    done = subprocess.run([sys.executable, "-c", OPEN_MANY, pattern], capture_output=True, text=True, check=True)
    samples, megabytes = done.stdout.split()
    assert int(samples) == 1_281_168
    assert float(megabytes) < 100


def test_a_flip_that_lasts_is_the_samples_in_every_epoch(shards: ShardSet) -> None:
    config = StreamConfig(batch_size=4, seed=11, last="keep", threads=2, flip_once=True)
    with Stream(shards, config) as stream:
        epochs = [{row: flip for row, _, _, flip, _ in flat([samples(b) for b in stream.epoch()])} for _ in range(3)]
    assert epochs[0] == epochs[1] == epochs[2]
    assert set(epochs[0].values()) == {False, True}
    with Stream(shards, replace(config, flip_once=False)) as stream:
        plain = {row: flip for row, _, _, flip, _ in flat([samples(b) for b in stream.epoch()])}
    assert plain != epochs[0]
    with Stream(shards, replace(config, crop="none")) as stream:
        assert not any(flip for batch in stream.epoch() for flip in batch.flip.tolist())
