"""Several processes as one run: what torchrun tells of them, sums over them, and decisions that all take alike."""

import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import HashStore, PrefixStore, Store  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from alexnet_command.printing import say
from alexnet_shards.errors import AlexnetError

DEVICES = ("auto", "cpu", "cuda")
STORE_POLL_SECONDS = 0.02
PARENT_POLL_SECONDS = 0.5
SILENT_SECONDS = 10.0
MEETING_TIME = timedelta(minutes=30)  # a cluster may start its machines far apart
# What a step and a checkpoint may take, so that who leaves has saved.
LEAVE_SECONDS = 120.0

HOW_TO_LAUNCH = "unset WORLD_SIZE for one process, or start them with torchrun"

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class World:
    """The processes of a run: this one's number, how many there are, and its device."""

    rank: int = 0
    size: int = 1
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of each process's `tensor`, the same on all."""
        total = tensor.clone()
        if self.size > 1:
            dist.all_reduce(total)
        return total

    def any(self, flags: Sequence[bool]) -> list[bool]:
        """For each flag, whether it is up in any process."""
        if self.size == 1:
            return list(flags)
        raised = self.sum(torch.tensor([float(flag) for flag in flags], device=self.device))
        return [count > 0 for count in raised.tolist()]

    def exchange(self) -> "Exchange":
        """Flags that all processes come to know without waiting for each other; made by all at once."""
        return Exchange(self, dist.new_group(backend="gloo") if self.size > 1 else None)

    def told(self, value: str | None) -> str | None:
        """The first process's `value`, on all."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, device=self.device)
        return values[0]

    def on_main(self, work: Callable[[], T]) -> T | None:
        """What `work` gives in the first process, None in the others, which wait for it.

        Where it raises, it raises in the first process alone, and the others leave in silence: one line tells of it.
        """
        if self.size == 1:
            return work()
        failed = True
        result = None
        try:
            result = work() if self.is_main else None
            failed = False
        finally:
            failed = self.any([failed])[0]
        if failed:
            raise SystemExit(1)
        return result

    def gathered(self, tensors: Mapping[str, Tensor]) -> list[dict[str, Tensor]] | None:
        """Each process's `tensors` in host memory, by number of the process, in the first one; None in the others."""
        mine = {name: tensor.cpu() for name, tensor in tensors.items()}
        if self.size == 1:
            return [mine]
        parts: list[dict[str, Tensor]] | None = [{}] * self.size if self.is_main else None
        dist.gather_object(mine, parts)
        return parts

    def tally(self, name: str) -> Callable[[int], int]:
        """Counts different numbers over all processes of a start: told one, it says how many `name` has by now.

        No process waits for another.
        """
        store: Store = HashStore() if self.size == 1 else dist.distributed_c10d._get_default_store()
        numbers = PrefixStore(f"alexnet/tally/{name}", store)
        return lambda number: numbers.add("all", 1 if numbers.add(f"number/{number}", 1) == 1 else 0)

    def averaging(self, network: nn.Module, wanted: bool) -> AbstractContextManager[None]:
        """Context of a backward pass of `network`, which `wrap` gave; not `wanted`, gradients stay the process's own."""
        if wanted or self.size == 1:
            return nullcontext()
        return network.no_sync()  # type: ignore[operator, no-any-return]

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model with gradients averaged over the processes."""
        return model if self.size == 1 else averaged(model, self.device)


def averaged(model: nn.Module, device: torch.device) -> nn.Module:
    """The model on `device` with gradients averaged over torch's processes; they are views of what is sent, no copies.

    Without static_graph: parts of a batch without a sum (`World.averaging`) are none, and no parameter is unused.
    """
    devices = [device] if device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=devices, gradient_as_bucket_view=True)


class Exchange:
    """Flags of all processes, on their way while the next step is computed: none waits, on GPUs no device is asked."""

    def __init__(self, world: World, group: dist.ProcessGroup | None) -> None:
        """`group` is of CPUs, for the flags alone; None for one process."""
        self._world, self._group = world, group
        self._pending: tuple[Tensor, dist.Work] | None = None

    def take(self) -> list[bool]:
        """What `send` was given before, up where it was up in any process; nothing before the first time.

        All processes take at the same steps, so all decide alike.
        """
        if self._pending is None:
            return []
        flags, work = self._pending
        self._pending = None
        work.wait()
        return [count > 0 for count in flags.tolist()]

    def send(self, flags: Sequence[bool]) -> None:
        """Tell the others, for all to `take` at the next step."""
        sent = torch.tensor([float(flag) for flag in flags])
        work = dist.all_reduce(sent, group=self._group, async_op=True)
        if work is None:
            raise RuntimeError("no handle of a sum that was asked for without waiting")
        self._pending = sent, work


@contextmanager
def join_world(device_name: str) -> Iterator[World]:
    """The run that torchrun started this process for, on nccl for GPUs and gloo for CPUs, or this process alone.

    `device_name` is auto, cpu, cuda or cuda:N; with several processes each takes the GPU of its LOCAL_RANK. A process
    whose torchrun is gone asks itself to leave. Raises AlexnetError where another process of the run is gone.
    """
    size = _launched(os.environ)
    device = choose_device(device_name)
    if "TORCHELASTIC_RUN_ID" in os.environ:
        threading.Thread(target=leave_with_parent, args=(os.getppid(),), daemon=True, name="launcher").start()
    if size == 1:
        yield World(device=device)
        return
    if device.type == "cuda":
        device = torch.device("cuda", _local_rank(os.environ, torch.cuda.device_count()))
        torch.cuda.set_device(device)
    rank = _meet("nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(rank=rank, size=size, device=device)
    except RuntimeError as error:
        if not _is_of_a_peer(error):
            raise
        raise AlexnetError(
            f"process {rank} of {size}: another process of this run has ended, so this one ends too; the other says why"
        ) from error
    finally:
        dist.destroy_process_group()


def _launched(environment: Mapping[str, str]) -> int:
    """How many processes this one was started with; raises AlexnetError where the environment is no launcher's."""
    text = environment.get("WORLD_SIZE") or "1"
    if not text.isdecimal() or int(text) < 1:
        raise AlexnetError(f"WORLD_SIZE={text} in the environment; expected a number of processes: {HOW_TO_LAUNCH}")
    if int(text) == 1:
        return 1
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not environment.get(name)]
    if missing:
        raise AlexnetError(f"WORLD_SIZE={text} in the environment, and no {' and no '.join(missing)}: {HOW_TO_LAUNCH}")
    for name, end in (("RANK", int(text)), ("MASTER_PORT", 1 << 16)):
        if not environment[name].isdecimal() or int(environment[name]) >= end:
            raise AlexnetError(
                f"{name}={environment[name]} in the environment; expected 0 to {end - 1}: {HOW_TO_LAUNCH}"
            )
    return int(text)


def _local_rank(environment: Mapping[str, str], gpus: int) -> int:
    """The number of this process's GPU of `gpus`; raises AlexnetError where there is none of that number."""
    text = environment.get("LOCAL_RANK", "")
    if not text.isdecimal() or int(text) >= gpus:
        raise AlexnetError(
            f"LOCAL_RANK={text or 'nothing'} in the environment, and {gpus} GPUs here; expected 0 to {gpus - 1}: start as "
            "many processes on a machine as it has GPUs, or give --device cpu"
        )
    return int(text)


def _meet(backend: str) -> int:
    """Join the other processes; this one's number. Raises AlexnetError where that cannot be, as for a port in use."""
    # Its functions have the group as a default where it is there at their import: threads of a group that is kept live
    # on while the interpreter ends, and one that then lets go of a tensor aborts the process.
    import torch.distributed.nn.functional  # noqa: F401

    where = ":".join(os.environ[name] for name in ("MASTER_ADDR", "MASTER_PORT"))
    try:
        with _said_after(SILENT_SECONDS, where):
            store, rank, size = next(rendezvous("env://", timeout=MEETING_TIME))
            dist.init_process_group(backend, store=fresh_store(store, rank, size), rank=rank, world_size=size)
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise AlexnetError(
            f"process {os.environ['RANK']} of {os.environ['WORLD_SIZE']} cannot meet the others at {where} ({reason}); "
            "see that the address is the first machine's and the port is free there"
        ) from error
    return int(rank)


@contextmanager
def _said_after(seconds: float, where: str) -> Iterator[None]:
    """Say whom this process waits for, if it still does after so long."""
    line = (
        f"process {os.environ['RANK']} of {os.environ['WORLD_SIZE']}: waits for the others at {where}, up to "
        f"{MEETING_TIME.seconds // 60} minutes; if none comes, see that the address is the first machine's"
    )
    timer = threading.Timer(seconds, say, (line,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def leave_with_parent(parent_pid: int, seconds: float = LEAVE_SECONDS) -> None:
    """Wait until the parent is gone, ask this process to leave, and end it where it has not left so many seconds later.

    Else the workers of a torchrun that was killed would train on beside those of the next start.
    """
    while os.getppid() == parent_pid:
        time.sleep(PARENT_POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(seconds)
    os._exit(128 + signal.SIGTERM)


def _is_of_a_peer(error: RuntimeError) -> bool:
    """Whether torch says in its own way that a process did not answer; gloo has no exception of its own."""
    text = str(error)
    return isinstance(error, dist.DistError) or any(
        word in text for word in ("gloo", "Connection closed by peer", "Connection reset by peer", "Broken pipe")
    )


def fresh_store(store: Store, rank: int, size: int) -> Store:
    """A part of `store` that no earlier start of these processes has written to.

    After a dead process torchrun starts all of them again with the store they had, where the addresses of the dead
    still stand: who reads them before they are replaced fails. So the first process draws a name for this start, and
    sends it together with a token of each other process, which knows an old message by the old token in it.
    """
    mine = uuid.uuid4().hex
    if rank > 0:
        store.set(f"alexnet/here/{rank}", mine)
        while mine not in (message := store.get("alexnet/welcome").decode().split()):
            time.sleep(STORE_POLL_SECONDS)
        store.add(f"alexnet/seen/{message[0]}", 1)
        return PrefixStore(message[0], store)
    while store.add(f"alexnet/seen/{mine}", 0) < size - 1:
        here = [store.get(f"alexnet/here/{other}").decode() for other in range(1, size)]
        store.set("alexnet/welcome", " ".join([mine, *here]))
        time.sleep(STORE_POLL_SECONDS)
    return PrefixStore(mine, store)


def choose_device(name: str) -> torch.device:
    """The device of that name; "auto" is the first GPU, or the CPU where there is none.

    Raises AlexnetError for one that is not there, or that nothing here runs on.
    """
    if name.partition(":")[0] not in DEVICES:
        raise AlexnetError(f"--device {name}: no such device; expected auto, cpu, cuda or cuda:N")
    if name.startswith("cuda") and not torch.cuda.is_available():
        built = torch.version.cuda is not None
        why = "no GPU that it can use (see nvidia-smi)" if built else "it was built without CUDA (see pytorch.org)"
        raise AlexnetError(f"--device {name}: torch {torch.__version__} finds no CUDA: {why}; or take --device cpu")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        count = torch.cuda.device_count()
        raise AlexnetError(
            f"--device {name}: not usable here ({reason}); expected auto, cpu, cuda or cuda:N, N below {count}"
        ) from error
    return device
