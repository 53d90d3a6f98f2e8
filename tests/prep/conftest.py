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


Sample = tuple[str, bytes, Any]  # (name, picture, label)


def write_parquet(path: Path, samples: Sequence[Sample], names: Sequence[str] = (), **write: Any) -> None:
    """A parquet file as Hugging Face's datasets writes an image and a label column; `names` are the ClassLabel's."""
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    label_type = arrow.string() if isinstance(samples[0][2], str) else arrow.int64()
    fields = [
        arrow.field("image", arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])),
        arrow.field("label", label_type),
    ]
    label = {"names": list(names), "_type": "ClassLabel"} if names else {"dtype": "int64", "_type": "Value"}
    features = {"info": {"features": {"image": {"_type": "Image"}, "label": label}}}
    schema = arrow.schema(fields, metadata={"huggingface": json.dumps(features)})
    rows = [{"image": {"bytes": content, "path": name}, "label": label} for name, content, label in samples]
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(arrow.Table.from_pylist(rows, schema), path, **{"row_group_size": 5, **write})


@pytest.fixture(name="write_parquet", scope="session")
def write_parquet_fixture() -> Callable[..., None]:
    """`write_parquet`: a file as Hugging Face's datasets writes it."""
    return write_parquet


@dataclass(frozen=True)
class SameSources:
    """The same pictures in class folders, in parquet files and in webdataset tars, below one directory."""

    directory: Path
    classes: tuple[str, ...]


def write_same_sources(directory: Path, splits: Mapping[str, Sequence[tuple[str, str, bytes]]]) -> SameSources:
    """Write (class, file name, picture) rows of each split in three ways, in another order in each."""
    classes = tuple(sorted({name for rows in splits.values() for name, _, _ in rows}))
    for split, rows in splits.items():
        spelled = {"val": "validation"}.get(split, split)
        for name, file, content in rows:
            path = directory / "folders" / split / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        samples = [(file, content, classes.index(name)) for name, file, content in rows]
        for part in range(2):
            path = directory / "parquet" / "data" / f"{spelled}-{part:05d}-of-00002.parquet"
            write_parquet(path, samples[part::2], classes, row_group_size=7)
        (directory / "tars").mkdir(exist_ok=True)
        for part in range(3):
            members = []
            for file, content, label in reversed(samples[part::3]):
                key = file.rpartition(".")[0]
                members += [(file, content), (f"{key}.json", json.dumps({"label": classes[label]}).encode())]
            (directory / "tars" / f"set-{spelled}-{part:02d}.tar").write_bytes(tar_bytes(members))
    return SameSources(directory, classes)


@pytest.fixture(scope="session")
def same_sources(data_dir: Path, tmp_path_factory: pytest.TempPathFactory, photo_bytes: Any) -> SameSources:
    """Photos of tiny10 in three ways: 12 a class of three for training, 4 for validation, some of them odd."""
    splits: dict[str, list[tuple[str, str, bytes]]] = {"train": [], "val": []}
    with tarfile.open(data_dir / "tiny10.tar") as archive:
        for member in archive:
            parts = member.name.split("/")
            rows = splits.get(parts[1]) if member.isfile() else None
            if rows is None or sum(row[0] == parts[2] for row in rows) >= (12 if parts[1] == "train" else 4):
                continue
            chosen = dict.fromkeys(row[0] for row in splits["train"])
            if parts[2] not in chosen and (parts[1] == "val" or len(chosen) == 3):
                continue
            file = archive.extractfile(member)
            rows.append((parts[2], parts[3], file.read() if file else b""))
    name = splits["train"][0][0]
    splits["train"] += [(name, f"{name}_900.JPEG", b"no picture"), (name, f"{name}_901.png", photo_bytes(1, 40, 30))]
    return write_same_sources(tmp_path_factory.mktemp("same"), splits)
