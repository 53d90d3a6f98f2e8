"""A finished split goes on from its manifest alone."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from alexnet_prep.restore import finished_split
from alexnet_prep.sidecar import Sidecar
from alexnet_shards.manifest import load_manifest


def sidecars_in(out: Path) -> dict[str, Sidecar]:
    """Sidecars by name."""
    paths = sorted((out / ".build" / "train").glob("*.tar.json"))
    return {path.name: Sidecar(**json.loads(path.read_bytes())) for path in paths}


def test_the_sidecars_are_what_they_were(small_source: Any, tmp_path: Path, prep: Any) -> None:
    archive = small_source.directory / "ILSVRC2010_images_train.tar"
    content = bytearray(archive.read_bytes())
    content[content.index(b"\xff\xd8\xff")] = 0  # one image less
    archive.write_bytes(content)
    out = tmp_path / "out"
    words = (
        "shards",
        "--source",
        small_source.directory,
        "--out",
        out,
        "--split",
        "train",
        "--num-shards",
        5,
        "--json",
    )
    first = json.loads(prep(*words).stdout)[0]
    assert len(first["dropped"]) == 1
    before, manifest = sidecars_in(out), (out / "train.manifest.json").read_bytes()
    assert len(before) == 5
    shutil.rmtree(out / ".build")
    (out / "train-002.tar").unlink()
    done = prep(*words)
    assert "4 shards were there already" in done.stderr
    after = sidecars_in(out)
    assert [sidecar.sizes != {} for sidecar in after.values()] == [False, False, True, False, False]
    assert after == {name: replace(sidecar, sizes=after[name].sizes) for name, sidecar in before.items()}
    assert after["train-002.tar.json"] == before["train-002.tar.json"]
    assert json.loads(manifest)["report"]["sizes"]["width_px"]
    assert (out / "train.manifest.json").read_bytes() == manifest


def test_another_run_is_refused_by_the_manifest(small_source: Any, tmp_path: Path, prep: Any) -> None:
    out = tmp_path / "out"
    words = ("shards", "--source", small_source.directory, "--out", out, "--split", "val", "--json")
    prep(*words)
    shutil.rmtree(out / ".build")
    assert "another seed (there 0, wanted 1)" in prep(*words, "--seed", 1, status=1).stderr
    (out / "val.index.npy").write_bytes(b"damaged")
    assert "shards were there already" not in prep(*words).stderr  # without the index they are built anew
    assert load_manifest(out / "val.manifest.json").samples == 6


def test_only_our_own_finished_splits_count(tmp_path: Path) -> None:
    assert finished_split(tmp_path, "train") is None
    (tmp_path / "train.manifest.json").write_text("{")
    assert finished_split(tmp_path, "train") is None


def test_a_kill_while_sidecars_are_restored_loses_none(small_source: Any, tmp_path: Path, prep: Any) -> None:
    out = tmp_path / "out"
    words = ("shards", "--source", small_source.directory, "--out", out, "--split", "train", "--num-shards", 5)
    prep(*words)
    shutil.rmtree(out / ".build")
    code = (
        "import os, sys, alexnet_prep.prepare as prepare\nreal, left = prepare.save_sidecar, [1, 2]\n"
        "def save_sidecar(*words):\n    left.pop() if left else os._exit(9)\n    real(*words)\n"
        "prepare.save_sidecar = save_sidecar\nfrom alexnet_prep.cli import main\nmain()\n"
    )
    command = [sys.executable, "-c", code, *map(str, words)]
    assert subprocess.run(command, capture_output=True, check=False, timeout=120).returncode == 9
    assert len(sidecars_in(out)) == 2
    assert "5 shards were there already" in prep(*words).stderr
    (out / ".build" / "train" / "train-003.tar.json").unlink()
    assert "5 shards were there already" in prep(*words).stderr
