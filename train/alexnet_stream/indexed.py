"""A source for webdataset's pipelines: samples by the index, in an order that is drawn over all of them."""

import os
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import IterableDataset
from webdataset.utils import pytorch_worker_info

from alexnet_remote import Stop, open_shards
from alexnet_shards.errors import AlexnetError
from alexnet_shards.index import NO_LABEL
from alexnet_shards.pattern import Patterns
from alexnet_shards.shardset import ShardSet
from alexnet_stream.epoch import epoch_table
from alexnet_stream.prefetch import source_of
from alexnet_stream.reader import BadSampleError, ShardFiles, check_crc32

TAR_BLOCK_BYTES, TAR_NAME_BYTES = 512, 100


class IndexedSamples(IterableDataset[dict[str, Any]]):
    """The first stage of a webdataset pipeline, in place of a shard list, tarfile_to_samples and shuffles:

        pipeline = webdataset.DataPipeline(IndexedSamples("train-{000..999}.tar", seed=0), webdataset.decode("rgb8"),
                                           webdataset.to_tuple("jpg", "cls"), webdataset.batched(256))

    Yields what those would, {"__key__", "__url__", "jpg": bytes, "cls": ASCII digits} (no "cls" for a private label),
    but each sample of an epoch exactly once over all nodes and workers, whose parts differ by one sample at most; in an
    order over all samples that (seed, epoch) alone decides; and with its crc32 checked. A batch does not depend on it
    that shards are as many as workers.
    """

    def __init__(self, shards: ShardSet | Patterns, seed: int, *, shuffle: bool = True) -> None:
        """`shards` is an open set, or patterns for open_shards; raises AlexnetError as that does."""
        self._shards = shards if isinstance(shards, ShardSet) else open_shards(shards)
        self._seed, self._shuffle = seed, shuffle
        # In shared memory, so that workers that outlive an epoch hear of the next.
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        """Samples in an epoch, over all nodes and workers."""
        return self._shards.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Have the next iteration go through `epoch`, as DistributedSampler has it."""
        self._epoch[0] = epoch

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """This worker's samples of the epoch; raises AlexnetError for a damaged one."""
        rank, world_size, worker, num_workers = pytorch_worker_info()
        table = epoch_table(len(self), self._seed, int(self._epoch[0]), shuffle=self._shuffle, crop="none")
        rows = table.rows[rank * num_workers + worker :: world_size * num_workers]
        files = ShardFiles(source_of(self._shards, Stop()))
        try:
            for row in rows.tolist():
                yield self._sample(files, row)
        finally:
            files.close()

    def _sample(self, files: ShardFiles, row: int) -> dict[str, Any]:
        shard, offset, size, label, crc32 = self._shards.rows[row].tolist()
        # The member's header is the block before its bytes, so that both are one read.
        try:
            content = files.read(shard, offset - TAR_BLOCK_BYTES, TAR_BLOCK_BYTES + size)
            jpeg = content[TAR_BLOCK_BYTES:]
            check_crc32(jpeg, crc32)
        except BadSampleError as error:
            raise AlexnetError(
                f"{self._shards.key_of(row)}: {error}; see all damage with alexnet-prep verify"
            ) from error
        sample = {"__key__": self._key(content, row), "__url__": self._shards.paths[shard], "jpg": jpeg}
        return sample if label == NO_LABEL else {**sample, "cls": str(label).encode()}

    def _key(self, content: bytes, row: int) -> str:
        """The member's name without what follows the first dot of its last part, as webdataset has it."""
        name, magic = content[:TAR_NAME_BYTES].rstrip(b"\0"), content[257:262]
        if len(name) == TAR_NAME_BYTES or b"\0" in name or (magic == b"ustar" and content[345] != 0):
            return self._shards.key_of(row).rpartition(", ")[2]
        folder, slash, base = os.fsdecode(name).rpartition("/")
        return folder + slash + base.partition(".")[0]
