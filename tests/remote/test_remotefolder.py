"""Folders in stores: what their names stand for, and shards that are brought and gone again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alexnet_remote.remotefolder import bring_sets, remote_folder
from alexnet_shards.errors import FormatError, PatternError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ALEXNET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def url(tmp_path: Path, make_shards: Callable[..., str], fault_server: Callable[..., Any]) -> str:
    make_shards(tmp_path / "a", (3, 4))
    (tmp_path / "b").mkdir()
    return f"{fault_server(tmp_path).url}/a"


def test_a_folder_without_a_listing(url: str, cache: Path) -> None:
    with remote_folder([url], None) as (folder, names):
        assert names == ()
        assert bring_sets(folder, names, "all") == ("train",)
        assert {path.name for path in folder.copy.iterdir()} == {"train.manifest.json", "train.index.npy"}
        with folder.fetched(folder.copy / "train-001.tar") as path:
            assert path.stat().st_size == folder.size_of("train-001.tar")
        assert not path.exists()
        with folder.fetched(folder.copy / "train-009.tar") as path:
            assert not path.exists()
        with pytest.raises(PatternError, match=r"train-009\.tar: .*404.*; correct the pattern"):
            folder.size_of("train-009.tar")
    assert not list((cache / "remote" / "sets").iterdir())


def test_shards_by_pattern(url: str) -> None:
    with remote_folder([f"{url}/train-{{000..001}}.tar"], None) as (folder, names):
        assert names == ("train-000.tar", "train-001.tar")
        assert bring_sets(folder, names, "all") == ("train",)
    with (
        pytest.raises(PatternError, match="names shards in several folders"),
        remote_folder([f"{url}/train-000.tar", f"{url[:-1]}b/train-000.tar"], None),
    ):
        pass


def test_what_is_not_there_is_named_by_its_address(url: str) -> None:
    with (
        pytest.raises(FormatError, match=rf"^{url[:-1]}b: no manifest of"),
        remote_folder([f"{url[:-1]}b"], None) as (
            folder,
            names,
        ),
    ):
        bring_sets(folder, names, "all")
