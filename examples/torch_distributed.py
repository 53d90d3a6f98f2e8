# /// script
# requires-python = ">=3.11"
# dependencies = ["alexnet-replication[pillow]"]
# [tool.clients]
# venv = "torch"
# ///
"""torch DistributedSampler: ShardDataset shared by two processes of gloo, every sample once."""

import sys

import torch.distributed as dist
from torch.multiprocessing import spawn
from torch.utils.data import DataLoader, DistributedSampler

from alexnet_stream import ShardDataset


def rank_main(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    dataset = ShardDataset([f"{folder}/shards/train-*.tar"], as_torch=True)
    sampler = DistributedSampler(dataset, shuffle=True)
    labels = [label for _, batch in DataLoader(dataset, batch_size=16, sampler=sampler) for label in batch.tolist()]
    parts = [None, None]
    dist.all_gather_object(parts, labels)
    if rank == 0:
        print(len(parts[0] + parts[1]), sum(parts[0] + parts[1]))
    dist.destroy_process_group()


if __name__ == "__main__":
    spawn(rank_main, (sys.argv[1],), nprocs=2)
