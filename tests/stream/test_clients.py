"""Stream and ShardDataset below other people's loaders, as installed here: torch's, torchdata's, Lightning's and Grain's."""

import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grain
import lightning
import pytest
import torch
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

from alexnet_shards.errors import AlexnetError
from alexnet_shards.shardset import ShardSet, open_shards
from alexnet_stream import ShardDataset, Stream, StreamConfig

SAMPLES, BATCH = 21, 4


@pytest.fixture(scope="module")
def shards(make_shards: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    return open_shards([make_shards(tmp_path_factory.mktemp("shards"), (7, 5, 9))])


@pytest.fixture
def stream(shards: ShardSet) -> Iterator[Stream]:
    with Stream(shards, StreamConfig(batch_size=BATCH, seed=3, threads=1)) as opened:
        yield opened


def rows(batches: Any) -> list[list[int]]:
    return [batch.rows.tolist() for batch in batches]


def reference(shards: ShardSet, epochs: int) -> list[list[list[int]]]:
    """The rows of each epoch's batches, by the stream's own `epoch`."""
    with Stream(shards, StreamConfig(batch_size=BATCH, seed=3, threads=1)) as opened:
        return [rows(opened.epoch()) for _ in range(epochs)]


def test_a_plain_loop(stream: Stream, shards: ShardSet) -> None:
    assert len(stream) == 6
    assert [rows(stream), rows(stream)] == reference(shards, 2)


def test_set_epoch_goes_there_and_lets_a_resumed_stream_go_on(stream: Stream, shards: ShardSet) -> None:
    epochs = reference(shards, 3)
    stream.set_epoch(2)
    assert rows(stream) == epochs[2]
    stream.load_state_dict({"epoch": 1, "position": 8})
    stream.set_epoch(1)
    assert rows(stream) == epochs[1][2:]
    stream.set_epoch(0)
    assert rows(stream) == epochs[0]
    with pytest.raises(AlexnetError, match="not a place"):
        stream.set_epoch(-1)


def test_torchs_loader_without_workers(stream: Stream, shards: ShardSet) -> None:
    loader: DataLoader[Any] = DataLoader(stream, batch_size=None)
    assert len(loader) == 6
    assert rows(loader) == reference(shards, 1)[0]


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_are_refused(stream: Stream, start: str) -> None:
    loader: DataLoader[Any] = DataLoader(stream, batch_size=None, num_workers=2, multiprocessing_context=start)
    with pytest.raises(AlexnetError, match=r"Stream .*num_workers=0.*ShardDataset"):
        list(loader)


def test_it_cannot_be_pickled(stream: Stream) -> None:
    with pytest.raises(AlexnetError, match="cannot be pickled"):
        pickle.dumps(stream)


def test_torchdatas_stateful_loader_goes_on_with_a_stream(shards: ShardSet) -> None:
    expected = reference(shards, 1)[0]
    config = StreamConfig(batch_size=BATCH, seed=3, threads=1)
    with Stream(shards, config) as stream:
        loader = StatefulDataLoader(stream, batch_size=None)
        batches = iter(loader)
        seen = [next(batches).rows.tolist() for _ in range(2)]
        state = pickle.loads(pickle.dumps(loader.state_dict()))
    with Stream(shards, config) as stream:
        loader = StatefulDataLoader(stream, batch_size=None)
        loader.load_state_dict(state)
        assert seen + rows(loader) == expected


def test_torchdatas_stateful_loader_goes_on_with_two_workers(shards: ShardSet) -> None:
    def loader() -> Any:
        return StatefulDataLoader(ShardDataset(shards, _sum), batch_size=BATCH, num_workers=2)

    whole = [sums.tolist() for sums, _ in loader()]
    first = loader()
    batches = iter(first)
    seen = [next(batches)[0].tolist() for _ in range(2)]
    state = first.state_dict()
    del batches
    second = loader()
    second.load_state_dict(state)
    assert seen + [sums.tolist() for sums, _ in second] == whole
    assert len({value for sums in whole for value in sums}) == SAMPLES


def _sum(image_hwc: Any) -> int:
    return int(image_hwc.astype("int64").sum())


def test_grain_reads_each_sample_once(shards: ShardSet) -> None:
    source = ShardDataset(shards, _sum)
    assert isinstance(source, grain.sources.RandomAccessDataSource)
    data = grain.MapDataset.source(source).shuffle(seed=1)
    found = [value for value, _ in data]
    assert sorted(found) == sorted(source[row][0] for row in range(SAMPLES))
    assert found != [source[row][0] for row in range(SAMPLES)]


class Crash(Exception):
    """The end of a run that nobody planned."""


class Probe(lightning.LightningModule):
    """Remembers the rows that it was given; after `crash_after` batches it saves and crashes."""

    def __init__(self, checkpoint: Path, crash_after: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.checkpoint, self.crash_after, self.seen = checkpoint, crash_after, list[list[int]]()

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        self.seen.append(batch.rows.tolist())
        loss: torch.Tensor = self.weight.sum() * batch.images_nhwc.float().mean()
        return loss

    def on_train_batch_end(self, *_: Any) -> None:
        if len(self.seen) == self.crash_after:
            self.trainer.save_checkpoint(self.checkpoint)
            raise Crash

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.0)


@pytest.mark.filterwarnings("ignore")
def test_lightning_trains_and_goes_on_in_the_middle_of_an_epoch(shards: ShardSet, tmp_path: Path) -> None:
    def run(crash_after: int, checkpoint: Path | None) -> list[list[int]]:
        quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = lightning.Trainer(
            max_epochs=2, accelerator="cpu", enable_checkpointing=False, default_root_dir=tmp_path, **quiet
        )
        probe = Probe(tmp_path / "middle.ckpt", crash_after)
        config = StreamConfig(batch_size=BATCH, seed=3, threads=1)
        with Stream(shards, config) as stream, suppress(Crash):
            trainer.fit(probe, stream, ckpt_path=checkpoint)
        return probe.seen

    seen = run(3, None) + run(0, tmp_path / "middle.ckpt")
    assert seen == [batch for epoch in reference(shards, 2) for batch in epoch]


UNWANTED = ("click", "rich", "fsspec", "webdataset", "PIL", "alexnet_command", "alexnet_pixels", "alexnet_train")


def test_the_data_set_loads_no_command_line_and_no_store() -> None:
    code = f"import sys, alexnet_stream; print([name for name in {UNWANTED} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
