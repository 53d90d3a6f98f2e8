"""Shards handed to other people's readers, one call each: webdataset, Hugging Face datasets, DALI."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from alexnet_shards.files import worded, write_atomic
from alexnet_shards.shardset import ShardSet
from alexnet_shards.sidefiles import dali_index_bytes

if TYPE_CHECKING:
    import webdataset


def class_names(shards: ShardSet) -> list[str]:
    """A name for each label, no two alike, as `datasets.ClassLabel(names=…)` wants them: its words, or WNID and words."""
    words = [fact.words for fact in shards.classes]
    if all(words) and len(set(words)) == len(words):
        return words
    return [f"{fact.wnid} {fact.words}".strip() for fact in shards.classes]


def dali_index(shards: ShardSet, folder: Path | str) -> list[str]:
    """Write the index of each local shard to `folder`; returns their paths, as DALI's webdataset reader wants them.

    `fn.readers.webdataset(paths=list(shards.files), index_paths=dali_index(shards, folder), ext=["jpg", "cls"])`.
    Raises AlexnetError where nothing can be written there.
    """
    folder = Path(folder)
    with worded(folder):
        folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, shard in enumerate(map(Path, shards.files)):
        path = folder / f"{number:03d}-{shard.name.removesuffix('.tar')}.idx"
        write_atomic(path, dali_index_bytes(shard))
        paths.append(str(path))
    return paths


def webdataset_pipeline(shards: ShardSet, *, shuffle: int = 0, seed: int = 0) -> "webdataset.DataPipeline":
    """webdataset's own stages over local shards: split by node and by worker, decoded, with the class list.

    Yields {"__key__", "jpg": (256, 256, 3) uint8 RGB, "cls": label, "wnid", "words"}, the last three where there is a
    label. `shuffle` samples are held to be mixed, and the shards' order is drawn by `seed` and epoch; 0: as stored. Epochs
    are counted where the pipeline runs: workers of a DataLoader must outlive them (`persistent_workers=True`), or each has
    the order of the first. A node or worker gets whole shards: for equal parts and a shuffle over all samples see
    alexnet_stream.indexed.
    """
    import webdataset

    def named(sample: dict[str, Any]) -> dict[str, Any]:
        if "cls" not in sample:
            return sample
        fact = shards.classes[sample["cls"]]
        return {**sample, "wnid": fact.wnid, "words": fact.words}

    stages = [
        webdataset.SimpleShardList(list(shards.files)),
        *([webdataset.detshuffle(len(shards.paths), seed=seed)] if shuffle else []),
        webdataset.split_by_node,
        webdataset.split_by_worker,
        webdataset.tarfile_to_samples(),
        *([webdataset.shuffle(shuffle)] if shuffle else []),
        webdataset.decode("rgb8"),
        webdataset.map(named),
    ]
    return webdataset.DataPipeline(*stages)
