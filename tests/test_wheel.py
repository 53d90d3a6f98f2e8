"""What is published: wheel and sdist install without a compiler, leave the Pillow that is there, and do the whole job."""

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TRAIN = ("--recipe", "demo", "--set", "width=0.0625", "--set", "batch_size=16", "--set", "epochs=1", "--device", "cpu")


@pytest.fixture(scope="module")
def source_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tracked files alone, as a clone has them: building writes beside the sources."""
    tree = tmp_path_factory.mktemp("tree")
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    for name in filter(None, map(os.fsdecode, names)):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tree / name)
    return tree


def build(kind: str, tree: Path, out: Path) -> Path:
    """The wheel or sdist of `tree`, by the backend that pyproject.toml names."""
    call = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(out)!r}))"
    done = subprocess.run([sys.executable, "-c", call], cwd=tree, capture_output=True, text=True, check=True)
    return out / done.stdout.splitlines()[-1]


def test_wheel_and_sdist_hold_every_file_of_the_rooms(source_tree: Path, tmp_path: Path) -> None:
    rooms = [
        path.parent for folder in ("prep", "shards", "train") for path in source_tree.glob(f"{folder}/*/__init__.py")
    ]
    expected = {
        f"{room.name}/{path.relative_to(room)}"
        for room in rooms
        for path in room.rglob("*")
        if path.suffix in (".py", ".c", ".toml", ".typed")
    }
    with zipfile.ZipFile(build("wheel", source_tree, tmp_path)) as wheel:
        assert expected <= set(wheel.namelist())
    with tarfile.open(build("sdist", source_tree, tmp_path)) as sdist:
        names = {"/".join(name.split("/")[2:]) for name in sdist.getnames()}
        assert expected <= names


@pytest.mark.long
@pytest.mark.parametrize("pillow", ["extra", "there before"])
def test_installed_without_a_compiler_it_does_the_whole_job(source_tree: Path, tmp_path: Path, pillow: str) -> None:
    wheel = build("wheel", source_tree, tmp_path)
    home = tmp_path / "venv"
    venv.create(home, with_pip=True)
    alone = {**os.environ, "PATH": str(home / "bin"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    alone.pop("PYTHONPATH", None)

    def run(*words: object) -> str:
        done = subprocess.run(
            [home / "bin" / str(words[0]), *map(str, words[1:])],
            cwd=tmp_path,
            env=alone,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    stock = next(line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("# stock: "))
    limits = tmp_path / "constraints.txt"
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    limits.write_text("\n".join(line for line in lines if not line.startswith("pillow")))
    if pillow == "there before":
        run("pip", "install", "-q", stock.removeprefix("# stock: "))
    run("pip", "install", "-q", "-c", limits, str(wheel) + ("[pillow]" if pillow == "extra" else ""))
    installed = run("pip", "list", "--format=freeze")
    assert "pillow-simd" not in installed
    if pillow == "there before":
        assert stock.removeprefix("# stock: ") in installed
    run("alexnet-prep", "sample", "sample", "--classes", 2, "--train-per-class", 20, "--val-per-class", 4)
    run("alexnet-prep", "shards", "--source", "sample", "--out", "shards")
    run("alexnet-prep", "compute-stats", "--shards", "shards/train-*.tar")
    run("alexnet-train", "--shards", "shards/train-*.tar", *TRAIN, "--out", "run")
    assert "top1_error" in run(
        "alexnet-eval", "--checkpoint", "run/checkpoints/best.pt", "--shards", "shards/val-*.tar", "--json"
    )
