"""Commands on shards in stores: the same answers as on a folder, and one line where they cannot be."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from alexnet_prep.named import by_split, named_splits, splits_in
from alexnet_shards.errors import FormatError
from alexnet_shards.stats import load_stats


@pytest.fixture
def folder(tmp_path: Path, make_shards: Callable[..., str]) -> Path:
    """A folder of two sets whose classes have names."""
    make_shards(tmp_path / "set", (4, 5, 3))
    make_shards(tmp_path / "set", (3,), "val")
    return tmp_path / "set"


@pytest.fixture
def environment(tmp_path: Path) -> Mapping[str, str]:
    return {**os.environ, "ALEXNET_CACHE": str(tmp_path / "cache")}


def put(s3: Any, folder: Path) -> str:
    for path in folder.iterdir():
        s3.files.put_file(str(path), f"{s3.bucket}/set/{path.name}")
    return f"{s3.url}/set"


def test_local_names(folder: Path) -> None:
    assert named_splits([str(folder)], "all") == (folder, ("train", "val"))
    assert named_splits([f"{folder}/val-*.tar"], "all") == (folder, ("val",))
    assert splits_in(folder) == ("train", "val")
    with pytest.raises(FormatError, match="no manifest of a split there"):
        splits_in(folder.parent)


@pytest.mark.parametrize("pattern", ["", "/*.tar"])
def test_every_split_of_a_folder_is_indexed(folder: Path, prep: Any, pattern: str) -> None:
    before = {path.name: path.read_bytes() for path in folder.glob("*.index.npy")}
    for path in (*folder.glob("*.json"), *folder.glob("*.npy")):
        path.unlink()
    found = json.loads(prep("index", "--shards", f"{folder}{pattern}", "--json").stdout)["sets"]
    assert [(one["split"], one["samples"]) for one in found] == [("train", 12), ("val", 3)]
    assert {path.name: path.read_bytes() for path in folder.glob("*.index.npy")} == before
    written = json.loads(prep("index", "--shards", folder, "--for", "wids", "--json").stdout)["written"]
    assert written == [f"{folder}/train.wids.json", f"{folder}/val.wids.json"]


def test_what_is_one_set_whatever_its_names_say() -> None:
    assert by_split(["d/train-0.tar", "d/extra-0.tar"]) == [["d/train-0.tar", "d/extra-0.tar"]]
    assert by_split(["d/a.tar", "d/b.tar"]) == [["d/a.tar", "d/b.tar"]]
    apart = by_split(["d/train-0.tar", "d/x-validation-0.tar", "d/train-1.tar"])
    assert apart == [["d/train-0.tar", "d/train-1.tar"], ["d/x-validation-0.tar"]]


def test_a_folder_whose_name_looks_like_a_glob(folder: Path, prep: Any) -> None:
    moved = folder.rename(folder.parent / "[set]")
    assert json.loads(prep("verify", "--shards", moved, "--json").stdout)["samples"] == 15


def test_a_store_is_read_as_a_folder_is(
    s3: Any, prep: Any, folder: Path, tmp_path: Path, environment: Mapping[str, str]
) -> None:
    url = put(s3, folder)
    s3.proxy.fail("GET */train-001.tar*", "reset", 1)
    done = prep("verify", "--shards", url, "--json", "--workers", 2, env=os.environ | environment)
    assert json.loads(done.stdout) == {"shards": 4, "samples": 15, "bad": []}
    done = prep("verify", "--shards", f"{url}/val-*.tar", "--json", env=os.environ | environment)
    assert json.loads(done.stdout)["shards"] == 1
    here = prep("report", "--shards", folder, "--json").stdout
    assert prep("report", "--shards", url, "--json", env=os.environ | environment).stdout == here
    prep("compute-stats", "--shards", folder, "--out", tmp_path / "here.npz")
    done = prep("compute-stats", "--shards", url, "--workers", 2, "--json", env=os.environ | environment)
    assert json.loads(done.stdout)["out"] == f"{url}/stats.npz"
    (tmp_path / "there.npz").write_bytes(s3.files.cat_file(f"{s3.bucket}/set/stats.npz"))
    assert (tmp_path / "there.npz").read_bytes() == (tmp_path / "here.npz").read_bytes()
    assert load_stats(tmp_path / "there.npz").images == 12
    done = prep("compute-stats", "--shards", url, "--json", env=os.environ | environment)
    assert json.loads(done.stdout)["reused"] is True


def test_what_is_wrong_in_a_store_is_named(s3: Any, prep: Any, folder: Path, environment: Mapping[str, str]) -> None:
    url = put(s3, folder)
    s3.files.rm_file(f"{s3.bucket}/set/train-000.tar")
    content = bytearray(s3.files.cat_file(f"{s3.bucket}/set/train-001.tar"))
    content[700] ^= 1
    s3.files.pipe_file(f"{s3.bucket}/set/train-001.tar", bytes(content))
    done = prep("verify", "--shards", url, "--json", status=1, env=os.environ | environment)
    bad = {entry["shard"]: entry["reason"] for entry in json.loads(done.stdout)["bad"]}
    assert bad["train-000.tar"] == "the shard is missing"
    assert "train-001.tar" in bad
    assert done.stderr.splitlines()[-1].startswith(f"error: {url}: ")


def test_foreign_shards_in_a_store_are_indexed(
    s3: Any, prep: Any, folder: Path, environment: Mapping[str, str]
) -> None:
    url = put(s3, folder)
    for name in ("train.manifest.json", "train.index.npy"):
        s3.files.rm_file(f"{s3.bucket}/set/{name}")
    done = prep("index", "--shards", f"{url}/train-*.tar", "--json", "--workers", 2, env=os.environ | environment)
    assert json.loads(done.stdout)["samples"] == 12
    assert s3.files.cat_file(f"{s3.bucket}/set/train.index.npy") == (folder / "train.index.npy").read_bytes()
    prep("verify", "--shards", url, env=os.environ | environment)
    assert not list(Path(environment["ALEXNET_CACHE"]).glob("remote/sets/*"))


def test_a_web_server_is_read(
    plain_server: Callable[..., Any],
    prep: Any,
    folder: Path,
    environment: Mapping[str, str],
    shard_tools: SimpleNamespace,
) -> None:
    url = f"http://127.0.0.1:{plain_server(folder).port}"
    done = prep("verify", "--shards", url, "--json", env=environment)
    assert json.loads(done.stdout) == {"shards": 4, "samples": 15, "bad": []}
    prep("report", "--shards", f"{url}/", env=environment)
    done = prep("compute-stats", "--shards", f"{url}/train-*.tar", status=1, env=environment)
    assert "a web server is read only; write to a folder" in done.stderr
    prep("compute-stats", "--shards", f"{url}/train-*.tar", "--out", folder / "s.npz", env=environment)
    assert load_stats(folder / "s.npz").images == 12
    done = prep("index", "--shards", f"{url}/train-*.tar", status=1, env=environment)
    assert "a web server is read only" in done.stderr
    done = prep("verify", "--shards", f"{url}/nothing", status=1, env=environment)
    assert "no manifest of" in done.stderr
