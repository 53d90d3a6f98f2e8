"""Real runs of one, two and three processes: the same samples, counts and loss; one that was killed goes on."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from alexnet_shards.errors import AlexnetError
from alexnet_train import distributed
from alexnet_train.checkpoint import list_checkpoints, load_checkpoint
from alexnet_train.distributed import World, choose_device, fresh_store, join_world
from alexnet_train.metrics import read_metrics

# With dropout: a sample's masks are those of its place in the batch of all processes.
SETTINGS = ("width=0.0625", "batch_size=5", "epochs=2", "dropout=0.5", "log_every_steps=1", "validation_batch_size=4")
TOLERANCE = 1e-4


def torchrun(processes: int, *words: str) -> dict[str, Any]:
    """The JSON that the command prints once, whatever the number of processes."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    done = subprocess.run(
        [*launcher, "-m", "alexnet_train.cli", *words, "--json"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


Run = Callable[..., Any]


def alone(run: Run, *words: str) -> dict[str, Any]:
    """The same of this process alone."""
    done = run(*words, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def words(pattern: str, out: Path, *settings: str) -> list[str]:
    sets = [word for setting in (*SETTINGS, *settings) for word in ("--set", setting)]
    return ["train", "--shards", pattern, "--recipe", "demo", *sets, "--out", str(out), "--device", "cpu"]


def losses(out: Path) -> list[float]:
    return [record["train_loss"] for record in read_metrics(out / "metrics.jsonl")]


def test_any_number_of_processes_is_the_same_run(run: Run, make_run: Callable[..., str], tmp_path: Path) -> None:
    pattern = make_run(tmp_path / "shards")
    one = alone(run, *words(pattern, tmp_path / "1"))
    # Of two, two and one image, their gradients added up image by image; two processes are in the next test.
    three = torchrun(3, *words(pattern, tmp_path / "3", "micro_batch_size=1"))
    assert losses(tmp_path / "3") == pytest.approx(losses(tmp_path / "1"), rel=TOLERANCE)
    for key in ("epoch", "step", "val_top1_error", "val_top5_error"):
        assert three[key] == one[key], key
    weights = {count: load_checkpoint(Path(record["checkpoint"]))["model"] for count, record in ((1, one), (3, three))}
    for name, tensor in weights[1].items():
        torch.testing.assert_close(weights[3][name], tensor, rtol=1e-3, atol=1e-5, msg=name)
    evaluate = ["eval", "--checkpoint", one["checkpoint"], "--shards", f"{tmp_path}/shards/val-*.tar"]
    evaluate += ["--views", "10", "--batch-size", "3"]
    counts = alone(run, *evaluate)
    assert torchrun(2, *evaluate, "--again") == counts | {"loss": pytest.approx(counts["loss"], rel=1e-5)}
    assert torchrun(2, *evaluate, "--batch-size", "2")["images"] == counts["images"] == 11  # kept, as all of them know


def test_a_run_goes_on_with_another_number_of_processes(run: Run, make_run: Callable[..., str], tmp_path: Path) -> None:
    pattern = make_run(tmp_path / "shards")
    alone(run, *words(pattern, tmp_path / "straight"))
    torchrun(2, *words(pattern, tmp_path / "changed", "epochs=1"))
    alone(run, *words(pattern, tmp_path / "changed"))
    assert losses(tmp_path / "changed") == pytest.approx(losses(tmp_path / "straight"), rel=TOLERANCE)


# It waits in its seventh epoch until it is told to go on: it cannot end before something happens to it.
HELD = """
import sys, time
from pathlib import Path
from alexnet_train import metrics
from alexnet_train.cli import main
go, plain = Path(sys.argv.pop(1)), metrics.MetricsLog.write
def write(log, kind, step, record):
    plain(log, kind, step, record)
    while step >= 18 and not go.exists():
        time.sleep(0.02)
metrics.MetricsLog.write = write
main()
"""


def started(out: Path, pattern: str) -> subprocess.Popen[bytes]:
    """A run of two processes that has done some steps, and ends once there is a file OUT.go."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=2"]
    out.with_suffix(".py").write_text(HELD)
    held = [str(out.with_suffix(".py")), str(out.with_suffix(".go"))]
    command = [*launcher, *held, *words(pattern, out, "epochs=8", "checkpoint_every_steps=2")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with out.with_suffix(".err").open("w") as errors:
        run = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=errors)
    while run.poll() is None and len(read_metrics(out / "metrics.jsonl")) < 6:
        time.sleep(0.01)
    assert run.poll() is None
    return run


def test_a_killed_process_is_started_again_and_the_run_ends_right(
    run: Run, make_run: Callable[..., str], tmp_path: Path
) -> None:
    pattern = make_run(tmp_path / "shards", val_sizes=())
    alone(run, *words(pattern, tmp_path / "straight", "epochs=8", "checkpoint_every_steps=2"))
    killed = started(tmp_path / "killed", pattern)
    children = Path(f"/proc/{killed.pid}/task/{killed.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    (tmp_path / "killed.go").touch()
    assert killed.wait() == 0, (tmp_path / "killed.err").read_text()
    assert losses(tmp_path / "killed") == pytest.approx(losses(tmp_path / "straight"), rel=10 * TOLERANCE)
    stopped = started(tmp_path / "stopped", pattern)
    stopped.terminate()
    (tmp_path / "stopped.go").touch()
    assert stopped.wait() != 0
    saved = load_checkpoint(list_checkpoints(tmp_path / "stopped" / "checkpoints")[-1])["step"]
    assert saved == read_metrics(tmp_path / "stopped" / "metrics.jsonl")[-1]["step"]
    alone(run, *words(pattern, tmp_path / "stopped", "epochs=8", "checkpoint_every_steps=2"))
    assert losses(tmp_path / "stopped") == pytest.approx(losses(tmp_path / "straight"), rel=10 * TOLERANCE)


def test_a_signal_to_all_processes_that_torchrun_passes_on_too_saves_and_leaves(
    make_run: Callable[..., str], tmp_path: Path
) -> None:
    """As Slurm and systemd send it: the second one ended the workers in the middle of their step, without a save."""
    sets = ("width=0.25", "batch_size=16", "epochs=9", "log_every_steps=1", "keep_checkpoints=9")
    words = [
        "--shards",
        make_run(tmp_path / "shards", (400,), (4,)),
        "--recipe",
        "demo",
        "--out",
        str(tmp_path / "run"),
    ]
    words += ["--device", "cpu", *(word for one in sets for word in ("--set", one))]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    launched = subprocess.Popen(
        [*launcher, "-m", "alexnet_train.cli", "train", *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    metrics = tmp_path / "run" / "metrics.jsonl"
    while len(read_metrics(metrics)) < 2:
        assert launched.poll() is None
        time.sleep(0.05)
    children = Path(f"/proc/{launched.pid}/task/{launched.pid}/children").read_text().split()
    for process in (launched.pid, *map(int, children)):
        os.kill(process, signal.SIGTERM)
    launched.communicate()
    (path,) = list_checkpoints(tmp_path / "run" / "checkpoints")
    assert load_checkpoint(path)["step"] == read_metrics(metrics)[-1]["step"]


def test_a_divergence_is_one_line_with_the_whole_batch_and_not_tried_again(
    make_run: Callable[..., str], tmp_path: Path
) -> None:
    pattern, out = make_run(tmp_path / "shards", val_sizes=()), tmp_path / "run"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1"]
    command = [*launcher, "-m", "alexnet_train.cli", *words(pattern, out, "learning_rate=1e30")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if "error: " in line]
    first, second = [line for line in lines if "has diverged" in line]
    assert "for 5 of 5 samples" in first  # of both processes
    assert second == f"{first} (not tried again)"
    assert [line for line in done.stderr.splitlines() if "Traceback" in line and "alexnet" in line] == []
    (path,) = out.glob("bad-batch-*.pt")
    kept = torch.load(path, weights_only=True)
    assert len(set(kept["rows"].tolist())) == 5
    assert kept["images_nhwc"].shape == (5, 224, 224, 3)
    assert list_checkpoints(out / "checkpoints") == []


def test_a_worker_leaves_with_its_parent() -> None:
    """A parent that is killed: the child asks itself to leave, and ends itself where it does not."""
    child = (
        "import os, signal, sys, time\n"
        "from alexnet_train.distributed import leave_with_parent\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('asked', flush=True))\n"
        "parent = os.getppid()\n"  # before the line that has it killed
        "print(os.getpid(), flush=True)\n"
        "leave_with_parent(parent, seconds=0.2)\n"
    )
    parent = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}]).wait()"
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        pid = int(run.stdout.readline())
        run.kill()
        assert run.stdout.read() == "asked\n"
    while Path(f"/proc/{pid}").exists():
        time.sleep(0.02)


def test_every_start_has_a_store_that_no_earlier_one_wrote_to() -> None:
    """What torchrun does after a dead process: the same store again, also where the dead one came halfway."""
    store = dist.HashStore()  # type: ignore[attr-defined]
    store.set("alexnet/here/1", "of a start that was killed before it met the others")
    for start in range(5):
        with ThreadPoolExecutor(3) as pool:
            parts = list(pool.map(lambda rank: fresh_store(store, rank, 3), range(3)))
        with pytest.raises(dist.DistStoreError):
            parts[1].wait(["address"], timedelta(milliseconds=1))
        parts[0].set("address", str(start))
        assert [part.get("address") for part in parts] == [str(start).encode()] * 3


def test_alone() -> None:
    with join_world("cpu") as world:
        assert (world.rank, world.size, world.is_main) == (0, 1, True)
        assert world.any([True, False]) == [True, False]
        assert world.told("x") == "x"
        tensor = torch.ones(2)
        total = world.sum(tensor)
        assert torch.equal(total, tensor)
        assert total is not tensor
    assert not World(rank=1, size=2, device=torch.device("cpu")).is_main


def test_devices() -> None:
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type in ("cpu", "cuda")
    with pytest.raises(AlexnetError, match="not usable here" if torch.cuda.is_available() else "finds no CUDA"):
        choose_device("cuda:99")
    for name in ("gpu", "", "cpux", "mps"):
        with pytest.raises(AlexnetError, match="no such device; expected auto, cpu, cuda or cuda:N"):
            choose_device(name)


@pytest.mark.parametrize(("built", "words"), [(None, "built without CUDA"), ("12.8", "no GPU that it can use")])
def test_no_cuda_says_whose_fault_it_is(built: str | None, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built)
    with pytest.raises(AlexnetError, match=rf"torch {torch.__version__.partition('+')[0]}.* finds no CUDA: .*{words}"):
        choose_device("cuda")


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE=two in the environment"),
        ({"WORLD_SIZE": "2"}, "no RANK and no MASTER_ADDR and no MASTER_PORT: unset WORLD_SIZE"),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_PORT": "9"}, "and no MASTER_ADDR: unset"),
        ({"WORLD_SIZE": "2", "RANK": "2", "MASTER_ADDR": "a", "MASTER_PORT": "9"}, "RANK=2 .* expected 0 to 1"),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "a", "MASTER_PORT": "x"}, "MASTER_PORT=x .* 0 to 65535"),
    ],
)
def test_an_environment_that_is_no_launchers_is_one_line(
    environment: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(AlexnetError, match=words), join_world("cpu"):
        pass


def test_an_empty_number_of_processes_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "")
    with join_world("cpu") as world:
        assert world.size == 1


def test_a_port_in_use_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        where = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        for name, value in where.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(
            AlexnetError, match=rf"process 0 of 2 cannot meet the others at 127.0.0.1:{port} "
        ) as caught:
            join_world("cpu").__enter__()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rank", ["0", "1"])
def test_who_waits_for_others_says_so(rank: str, kept_port: int) -> None:
    """A mistyped address was half an hour without a word."""
    where = {"WORLD_SIZE": "2", "RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(kept_port)}
    program = (
        "from alexnet_train import distributed\n"
        "distributed.SILENT_SECONDS = 0.5\n"
        "with distributed.join_world('cpu'): pass\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, env=os.environ | where, stderr=subprocess.PIPE, text=True) as waiting:
        assert waiting.stderr is not None
        line = next(line for line in waiting.stderr if "waits" in line)
        waiting.kill()
    assert line.startswith(f"process {rank} of 2: waits for the others at 127.0.0.1:{kept_port}, up to 30 minutes; ")


def test_more_processes_than_gpus_are_one_line() -> None:
    assert distributed._local_rank({"LOCAL_RANK": "1"}, 2) == 1
    for environment in ({"LOCAL_RANK": "2"}, {}):
        with pytest.raises(AlexnetError, match="2 GPUs here; expected 0 to 1"):
            distributed._local_rank(environment, 2)


TALLY = """
import os, sys, time
from pathlib import Path
from alexnet_train.distributed import join_world
with join_world("cpu") as world:
    tally = world.tally("bad-samples")
    counts = [tally(number) for number in (7, 8 + world.rank, 7)]
    (Path(sys.argv[1]) / str(world.rank)).write_text(str(counts[-1]))
    while not all((Path(sys.argv[1]) / str(rank)).exists() for rank in range(world.size)):
        time.sleep(0.05)
    (Path(sys.argv[1]) / f"end{world.rank}").write_text(str(tally(7)))
"""


def test_a_tally_is_of_all_processes(tmp_path: Path) -> None:
    """Each number counts once, whoever tells it; a lone process counts its own."""
    (tmp_path / "script.py").write_text(TALLY)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run([*launcher, tmp_path / "script.py", tmp_path], check=True, timeout=200)
    assert [(tmp_path / f"end{rank}").read_text() for rank in range(2)] == ["3", "3"]
    tally = World(device=torch.device("cpu")).tally("x")
    assert [tally(number) for number in (4, 4, 5)] == [1, 1, 2]


EXCHANGE = """
import os, sys, time
from pathlib import Path
from alexnet_train.distributed import join_world
ahead = Path(sys.argv[1]) / "ahead"
with join_world("cpu") as world:
    exchange, seen = world.exchange(), []
    for step in range(6):
        until = time.monotonic() + 100
        while world.rank == 1 and step == 3 and not ahead.exists() and time.monotonic() < until:
            time.sleep(0.02)  # the other one sends without waiting for this one
        seen.append(exchange.take())
        exchange.send([world.rank == 1 and step == 2, world.rank == 0 and step == 4])
        if world.rank == 1 and step == 3:
            seen.append(ahead.exists())
        elif world.rank == 0 and step == 3:
            ahead.touch()
            seen.append(True)
    exchange.take()
    (Path(sys.argv[1]) / f"seen{world.rank}").write_text(repr(seen))
"""


def test_flags_reach_all_processes_at_the_same_step(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(EXCHANGE)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run([*launcher, tmp_path / "script.py", tmp_path], check=True, timeout=200)
    none = [False, False]
    expected = [[], none, none, [True, False], True, none, [False, True]]
    assert [(tmp_path / f"seen{rank}").read_text() for rank in range(2)] == [repr(expected)] * 2


REPLACED = """
import sys
from pathlib import Path
from alexnet_shards.errors import AlexnetError
from alexnet_stream import open_shards
from alexnet_train.distributed import join_world
from alexnet_train.evaluate import check_processes_agree, load_classifier
out, pattern, *paths = sys.argv[1:]
with join_world("cpu") as world:
    shards = open_shards([pattern], split="val")
    for number, names in enumerate((paths[:1] * 2, paths)):
        classifier = load_classifier(Path(names[world.rank]), world.device)
        try:
            check_processes_agree([classifier], shards, world, "best.pt")
            found = "alike"
        except AlexnetError as error:
            found = str(error)
        except SystemExit as error:
            found = f"silent, {error.code}"
        (Path(out) / f"{number}-{world.rank}").write_text(found)
"""


def test_a_best_checkpoint_that_is_replaced_between_two_readings_is_one_line(
    run: Run, make_run: Callable[..., str], tmp_path: Path
) -> None:
    pattern = make_run(tmp_path / "shards")
    alone(run, *words(pattern, tmp_path / "run"))
    first, second = list_checkpoints(tmp_path / "run/checkpoints")[-2:]
    (tmp_path / "script.py").write_text(REPLACED)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    program = [*launcher, *map(str, (tmp_path / "script.py", tmp_path, tmp_path / "shards/val-*.tar", first, second))]
    subprocess.run(program, check=True, timeout=200)
    found = {path.name: path.read_text() for path in tmp_path.glob("?-?")}
    assert [found["0-0"], found["0-1"]] == ["alike", "alike"]
    assert found["1-0"].startswith("best.pt: was replaced while the processes read it")
    assert found["1-1"] == "silent, 1"


LEFT = """
import sys
from pathlib import Path
from alexnet_train.distributed import join_world
with join_world("cpu") as world:
    import torch.distributed.nn.functional  # as torch does by itself when it compiles or loads a network
    world.any([True])
    world.exchange().send([True])
threads = sorted((entry / "comm").read_text().strip() for entry in Path("/proc/self/task").iterdir())
(Path(sys.argv[1]) / f"left{world.rank}").write_text(str([name for name in threads if "gloo" in name]))
"""


def test_no_thread_of_torchs_is_left_when_the_interpreter_ends(tmp_path: Path) -> None:
    """One that then lets go of a tensor aborts the process: a run that is whole would end with status -6."""
    (tmp_path / "script.py").write_text(LEFT)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run([*launcher, tmp_path / "script.py", tmp_path], check=True, timeout=200)
    assert [(tmp_path / f"left{rank}").read_text() for rank in range(2)] == ["[]"] * 2
