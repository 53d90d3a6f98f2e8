"""Shards handed to other people's readers: names that ClassLabel takes, DALI's index, a stock webdataset pipeline."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from torch.utils.data import DataLoader

from alexnet_shards import ClassFact
from alexnet_shards.shardset import ShardSet, open_shards
from alexnet_shards.sidefiles import side_files
from alexnet_stream import class_names, dali_index, webdataset_pipeline

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset's open files


@pytest.fixture(scope="module")
def shards(make_shards: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    return open_shards([make_shards(tmp_path_factory.mktemp("shards"), (7, 5, 9, 4))])


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["tench", "crane"], ["tench", "crane"]),
        (["crane", "crane"], ["n0 crane", "n1 crane"]),
        (["", ""], ["n0", "n1"]),
    ],
)
def test_names_are_words_and_differ(shards: ShardSet, words: list[str], names: list[str]) -> None:
    classes = tuple(ClassFact(wnid=f"n{label}", words=word) for label, word in enumerate(words))
    assert class_names(replace(shards, manifest=replace(shards.manifest, classes=classes))) == names


def test_dalis_index_of_each_shard_lies_in_any_folder(shards: ShardSet, tmp_path: Path) -> None:
    paths = dali_index(shards, tmp_path / "index")
    beside = side_files(list(shards.paths), ["dali"])
    assert [Path(path).read_bytes() for path in paths] == [path.read_bytes() for path in beside]
    assert dali_index(shards, str(tmp_path / "index")) == paths


def test_the_stock_pipeline_decodes_and_names_every_sample(shards: ShardSet) -> None:
    samples = list(webdataset_pipeline(shards))
    assert len(samples) == 25
    for row, sample in zip(shards.rows, samples, strict=True):
        with Path(shards.paths[row["shard"]]).open("rb") as file:
            file.seek(int(row["offset"]))
            expected_hwc = simplejpeg.decode_jpeg(file.read(int(row["size"])))
        assert np.abs(sample["jpg"].astype(int) - expected_hwc).max() <= 4  # another build of libjpeg-turbo
        assert (sample["cls"], sample["wnid"]) == (row["label"], shards.classes[row["label"]].wnid)


def test_workers_and_nodes_share_it(shards: ShardSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    keys = []
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        loader: DataLoader[Any] = DataLoader(webdataset_pipeline(shards, shuffle=10), batch_size=None, num_workers=2)
        keys += [sample["__key__"] for sample in loader]
    assert sorted(keys) == [f"train{number:04d}" for number in range(25)]
    assert keys != sorted(keys)
