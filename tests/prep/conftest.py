"""Small sources and shard runs for the tests of prep."""

import gzip
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from alexnet_command.entry import finish
from alexnet_prep.commands import commands


def tar_bytes(members: Sequence[tuple[str, bytes]]) -> bytes:
    """A plain tar as the standard library writes it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def meta_mat(synsets: Sequence[tuple[int, str, int, int]], year: str = "2010") -> bytes:
    """A meta.mat of (ID, WNID, num_children, num_train_images) rows."""
    fields = [
        f"ILSVRC{year}_ID",
        "WNID",
        "words",
        "gloss",
        "num_children",
        "children",
        "wordnet_height",
        "num_train_images",
    ]
    rows = np.zeros((len(synsets), 1), dtype=[(name, object) for name in fields])
    for row, (number, wnid, num_children, images) in zip(rows[:, 0], synsets, strict=True):
        for name, value in zip(fields, (number, wnid, f"words of {wnid}", "", num_children, 0, 0, images), strict=True):
            row[name] = value
    buffer = io.BytesIO()
    savemat(buffer, {"synsets": rows})
    return buffer.getvalue()


def write_devkit(path: Path, synsets: Sequence[tuple[int, str, int, int]], val_ids: Sequence[int]) -> None:
    """The ILSVRC-2010 devkit archive of these synsets and validation IDs."""
    truth = "".join(f"{number}\n" for number in val_ids).encode()
    members = [
        ("devkit-1.0/data/meta.mat", meta_mat(synsets)),
        ("devkit-1.0/data/ILSVRC2010_validation_ground_truth.txt", truth),
    ]
    path.write_bytes(gzip.compress(tar_bytes(members), mtime=0))


@dataclass(frozen=True)
class SmallSource:
    """A source of three classes in the official layout; WNID order is not ID order."""

    directory: Path
    train: dict[str, list[str]]


WNIDS = ("n00000003", "n00000001", "n00000002")


@pytest.fixture
def small_source(tmp_path: Path, photo_bytes: Callable[..., bytes]) -> SmallSource:
    """8 images a class for training, 6 for validation, 3 for testing."""
    directory = tmp_path / "source"
    directory.mkdir()
    train: dict[str, list[str]] = {}
    inner_tars = []
    for number, wnid in enumerate(WNIDS):
        names = [f"{wnid}_{image}.JPEG" for image in range(8)]
        train[wnid] = names
        inner_tars.append((f"{wnid}.tar", tar_bytes([(n, photo_bytes(100 * number + i)) for i, n in enumerate(names)])))
    (directory / "ILSVRC2010_images_train.tar").write_bytes(tar_bytes(inner_tars))
    for split, images in (("val", 6), ("test", 3)):
        members = [(f"{split}/ILSVRC2010_{split}_{i:08d}.JPEG", photo_bytes(900 + i)) for i in range(images, 0, -1)]
        (directory / f"ILSVRC2010_images_{split}.tar").write_bytes(tar_bytes(members))
    (directory / "ILSVRC2010_test_ground_truth.txt").write_text("3\n1\n2\n")
    synsets = [(number, wnid, 0, 8) for number, wnid in enumerate(WNIDS, 1)] + [(4, "n00000009", 3, 0)]
    write_devkit(directory / "ILSVRC2010_devkit-1.0.tar.gz", synsets, [1, 2, 3, 3, 2, 1])
    return SmallSource(directory, train)


Runner = Callable[..., subprocess.CompletedProcess[str]]


def run_here(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """`alexnet-prep WORDS` in this process, which spares the imports; its workers are processes all the same."""
    with redirect_stdout(io.StringIO()) as stdout, redirect_stderr(io.StringIO()) as stderr:
        status = finish(commands, words)
    return subprocess.CompletedProcess(words, status, stdout.getvalue(), stderr.getvalue())


def run_apart(words: Sequence[str], env: Mapping[str, str] | None) -> subprocess.CompletedProcess[str]:
    """`alexnet-prep WORDS` in a process of its own."""
    command = [sys.executable, "-m", "alexnet_prep.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=env)


@pytest.fixture(scope="session")
def prep() -> Runner:
    """Runs `alexnet-prep WORDS` and returns what it printed: in a process of its own where `env` is given, or `apart`."""

    def run(
        *words: object, status: int = 0, env: Mapping[str, str] | None = None, apart: bool = False
    ) -> subprocess.CompletedProcess[str]:
        given = [str(word) for word in words]
        done = run_apart(given, env) if apart or env is not None else run_here(given)
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


def last_json(done: subprocess.CompletedProcess[str]) -> Any:
    """The JSON object a command printed."""
    return json.loads(done.stdout)


@pytest.fixture(name="tar_bytes", scope="session")
def tar_bytes_fixture() -> Callable[[Sequence[tuple[str, bytes]]], bytes]:
    """`tar_bytes`: a plain tar of (name, content) members."""
    return tar_bytes


@pytest.fixture(name="meta_mat", scope="session")
def meta_mat_fixture() -> Callable[..., bytes]:
    """`meta_mat`: a meta.mat of (ID, WNID, num_children, num_train_images) rows."""
    return meta_mat


@pytest.fixture(name="write_devkit", scope="session")
def write_devkit_fixture() -> Callable[..., None]:
    """`write_devkit`: writes a devkit archive."""
    return write_devkit
