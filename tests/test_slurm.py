"""docs/slurm/ on a real Slurm: controller, node and munge as processes of this test, the scripts submitted as they stand."""

import hashlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parents[1] / "docs" / "slurm"
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "munged")
# A node of more than this machine has, so that the scripts' own requests are granted; /dev/null for a GPU.
CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmdPort={port_of_node}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,bf_interval=2
ReturnToService=2
KillWait=60
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=64 RealMemory=200000 Gres=gpu:4 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES State=UP
"""


def free_port() -> int:
    with socket.socket() as there:
        there.bind(("127.0.0.1", 0))
        return int(there.getsockname()[1])


@dataclass
class Slurm:
    """A running Slurm of one node."""

    folder: Path
    env: dict[str, str]

    def call(self, *words: object, **env: object) -> str:
        """What a command of Slurm prints."""
        settings = {**self.env, **{name: str(value) for name, value in env.items()}}
        command = [str(word) for word in words]
        done = subprocess.run(command, env=settings, cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def state(self, job: str) -> str:
        """The states of a job and its tasks, "" once nobody knows it any more."""
        command = ["scontrol", "--oneliner", "show", "job", job]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, check=False)
        words = [word for word in done.stdout.split() if word.startswith("JobState=")]
        return " ".join(sorted({word.partition("=")[2] for word in words}))

    def wait(self, job: str, reached: Callable[[], bool], seconds: float = 240) -> None:
        """Until something has come about."""
        deadline = time.monotonic() + seconds
        while not reached():
            assert time.monotonic() < deadline, f"{job}: {self.state(job)}\n{self.said()}"
            time.sleep(0.3)

    def ends(self, job: str) -> bool:
        """Whether a job has ended, however."""
        return not set(self.state(job).split()) & {"PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED"}

    def said(self) -> str:
        """What all jobs have printed."""
        return "".join(f"== {path.name}\n{path.read_text()}" for path in sorted(self.folder.glob("*.out")))


def _end(pid_file: Path) -> None:
    if pid_file.exists():
        pid = int(pid_file.read_text())
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 20
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            time.sleep(0.05)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """Skipped where slurm-wlm and munge are not installed, or this is not root, whom their daemons need."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin"
    missing = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"Slurm: {', '.join(missing) or 'root'} is missing (apt-get install slurm-wlm munge)")
    folder = tmp_path_factory.mktemp("slurm")
    ports = {"port": free_port(), "port_of_node": free_port()}
    config = CONFIG.format(host=socket.gethostname().partition(".")[0], folder=folder, **ports)
    (folder / "slurm.conf").write_text(config)
    (folder / "gres.conf").write_text("Name=gpu File=/dev/tty[0-3]\n")
    (folder / "munge.key").write_bytes(secrets.token_bytes(128))
    (folder / "munge.key").chmod(0o400)
    files = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munge.pid", "log-file": "munge.log"}
    munge = [f"--{option}={folder / name}" for option, name in {**files, "seed-file": "munge.seed"}.items()]
    # Slurm passes the environment of sbatch on: nothing of a Slurm job that this test may run in.
    outside = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    here = Slurm(folder, {**outside, "PATH": path, "SLURM_CONF": str(folder / "slurm.conf"), "OMP_NUM_THREADS": "1"})
    try:
        here.call("munged", "--force", *munge)
        here.call("slurmctld", "-c")
        here.call("slurmd")
        here.wait("node", lambda: "idle" in here.call("sinfo", "--noheader", "--format=%T"), 60)
        yield here
    finally:
        for name in ("slurmd.pid", "slurmctld.pid", "munge.pid"):
            _end(folder / name)


def hashes(directory: Path) -> dict[str, str]:
    paths = [path for path in sorted(directory.iterdir()) if path.is_file() and not path.name.startswith(".")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.fixture
def photos(tmp_path: Path, photo_bytes: Any) -> Path:
    """A folder source of two classes."""
    for name in ("ant", "bee"):
        (tmp_path / "photos" / "train" / name).mkdir(parents=True)
        for number in range(8):
            path = tmp_path / "photos" / "train" / name / f"{name}{number}.jpg"
            path.write_bytes(photo_bytes(number + 100 * (name == "bee")))
    return tmp_path / "photos"


def local_run(photos: Path, out: Path) -> dict[str, str]:
    """What one process writes."""
    for words in (
        ["shards", "--source", str(photos), "--out", str(out), "--num-shards", "4", "--workers", "1"],
        ["compute-stats", "--shards", str(out), "--workers", "1"],
    ):
        subprocess.run([sys.executable, "-m", "alexnet_prep.cli", *words], check=True, capture_output=True)
    return hashes(out)


def test_two_parts_and_what_joins_them(slurm: Slurm, photos: Path, tmp_path: Path) -> None:
    settings = {"SOURCE": photos, "OUT": tmp_path / "out", "OPTIONS": "--num-shards 4"}
    said = slurm.call("bash", SCRIPTS / "submit.sh", 2, **settings)
    finish = said.split()[-1]
    expected = local_run(photos, tmp_path / "here")
    slurm.wait(finish, lambda: slurm.ends(finish))
    assert slurm.state(finish) == "COMPLETED", slurm.said()
    assert "train part 1/2: 8 images" in slurm.said()
    assert hashes(tmp_path / "out") == expected


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_dask_cluster_in_one_job(slurm: Slurm, photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    settings = {"SOURCE": photos, "OUT": tmp_path / "out", "OPTIONS": "--num-shards 4"}
    said = slurm.call("sbatch", "--nodes=1", "--cpus-per-task=2", SCRIPTS / "dask.sbatch", **settings)
    job = said.split()[-1]
    slurm.wait(job, lambda: slurm.ends(job), 600)
    assert slurm.state(job) == "COMPLETED", slurm.said()
    assert hashes(tmp_path / "out") == local_run(photos, tmp_path / "here")


@pytest.mark.long
@pytest.mark.timeout(900)
def test_workers_that_the_command_submits_itself(slurm: Slurm, photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("dask_jobqueue")
    words = ["shards", "--source", photos, "--out", tmp_path / "out", "--num-shards", 4, "--workers", 2]
    far = ["--scheduler", f"slurm:{SCRIPTS / 'jobqueue.yaml'}"]
    slurm.call(sys.executable, "-m", "alexnet_prep.cli", *words, *far)
    slurm.call(sys.executable, "-m", "alexnet_prep.cli", "compute-stats", "--shards", tmp_path / "out", "--workers", 1)
    assert hashes(tmp_path / "out") == local_run(photos, tmp_path / "here")
    slurm.wait("workers", lambda: "alexnet-worker" not in slurm.call("squeue", "--format=%j"), 60)


def records(run: Path) -> list[Any]:
    """What a run's log says of every step and epoch, without times."""
    from alexnet_train.metrics import read_metrics

    times = {"images_per_second", "data_wait_fraction", "checkpoint", "memory_bytes", "bound_by"}
    return [
        {key: value for key, value in record.items() if key not in times}
        for record in read_metrics(run / "metrics.jsonl")
    ]


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_the_trainer_is_queued_again_until_it_has_finished(
    slurm: Slurm, make_run: Callable[..., str], tmp_path: Path
) -> None:
    """Once by USR1, as Slurm sends it before the end of the time, once by `scontrol requeue`, as an operator does."""
    steps = ("width=0.0625", "batch_size=4", "epochs=12", "log_every_steps=1", "checkpoint_every_steps=2")
    options = " ".join(["--recipe demo", *(f"--set {step}" for step in steps)])
    shards = make_run(tmp_path / "shards")

    def submit(name: str) -> str:
        settings = {"SHARDS": shards, "OUT": tmp_path / name, "OPTIONS": options, "PORT": free_port()}
        return slurm.call("sbatch", "--gpus-per-node=2", SCRIPTS / "train.sbatch", **settings).split()[-1]

    def lines(name: str) -> int:
        path = tmp_path / name / "metrics.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    straight = submit("straight")
    slurm.wait(straight, lambda: slurm.ends(straight), 600)
    assert slurm.state(straight) == "COMPLETED", slurm.said()
    again = submit("again")
    slurm.wait(again, lambda: lines("again") > 5)
    slurm.call("scancel", "--signal=USR1", "--batch", again)
    slurm.wait(again, lambda: "Restarts=1" in slurm.call("scontrol", "show", "job", again))
    slurm.wait(again, lambda: lines("again") > 15)
    slurm.call("scontrol", "requeue", again)
    slurm.wait(again, lambda: "Restarts=2" in slurm.call("scontrol", "show", "job", again))
    slurm.wait(again, lambda: slurm.ends(again), 600)
    assert slurm.state(again) == "COMPLETED", slurm.said()
    assert records(tmp_path / "again") == records(tmp_path / "straight")
