"""Evaluations are kept where nothing changed, and computed anew where anything did."""

import dataclasses
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from alexnet_shards.manifest import ClassFact
from alexnet_shards.shardset import ShardSet, open_shards
from alexnet_train import kepteval
from alexnet_train.distributed import World
from alexnet_train.kepteval import KEPT_NAME, MOST_KEPT, KeptEvaluation

HOW = {"views": "10", "average": "probabilities", "worst": 0, "device": "cpu"}
RESULT = {"images": 11, "quarantined": 0, "loss": 0.1 + 0.2, "top1_error": 1 / 3, "worst": [{"wnid": "n1"}]}
ONE = World(device=torch.device("cpu"))


@pytest.fixture
def shards(make_run: Callable[..., str], tmp_path: Path) -> ShardSet:
    make_run(tmp_path / "shards")
    (tmp_path / "a.pt").write_bytes(b"weights")
    (tmp_path / "b.pt").write_bytes(b"other weights")
    return open_shards([f"{tmp_path}/shards/val-*.tar"])


def kept(shards: ShardSet, tmp_path: Path, *names: str, **how: Any) -> KeptEvaluation:
    return KeptEvaluation([tmp_path / name for name in names or ("a.pt",)], shards, HOW | how)


def test_what_is_kept_comes_back_as_it_was(shards: ShardSet, tmp_path: Path) -> None:
    assert kept(shards, tmp_path).find() is None
    kept(shards, tmp_path).keep(RESULT)
    kept(shards, tmp_path, views="1").keep(RESULT | {"images": 1})
    assert kept(shards, tmp_path).find() == RESULT
    kept(shards, tmp_path).keep(RESULT | {"images": 2})
    assert kept(shards, tmp_path).find() == RESULT | {"images": 2}
    assert len(json.loads((tmp_path / KEPT_NAME).read_text())["evaluations"]) == 2
    for number in range(MOST_KEPT):
        kept(shards, tmp_path, worst=number + 1).keep(RESULT)
    assert kept(shards, tmp_path, views="1").find() is None
    assert kept(shards, tmp_path, worst=MOST_KEPT).find() == RESULT


def test_whatever_differs_it_is_not_found(shards: ShardSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(shards, tmp_path, "a.pt", "b.pt").keep(RESULT)
    assert kept(shards, tmp_path, "a.pt", "b.pt").find() == RESULT
    for names in (("a.pt",), ("b.pt", "a.pt"), ("a.pt", "a.pt")):
        assert kept(shards, tmp_path, *names).find() is None
    for name, value in {"views": "1", "average": "logits", "worst": 1, "device": "cuda"}.items():
        assert kept(shards, tmp_path, "a.pt", "b.pt", **{name: value}).find() is None
    classes = (ClassFact(wnid="n9"), *shards.classes[1:])
    first = dataclasses.replace(shards.manifest.shards[0], sha256="0" * 64)
    changes: list[dict[str, Any]] = [
        {"classes": classes},
        {"split": "test"},
        {"shards": (first, *shards.manifest.shards[1:])},
        {"shards": shards.manifest.shards[1:]},
    ]
    for change in changes:
        other = dataclasses.replace(shards, manifest=dataclasses.replace(shards.manifest, **change))
        assert kept(other, tmp_path, "a.pt", "b.pt").find() is None, change
    relabelled = shards.rows.copy()
    relabelled["label"][0] += 1
    assert kept(dataclasses.replace(shards, rows=relabelled), tmp_path, "a.pt", "b.pt").find() is None
    for where, what in ((kepteval, "ARITHMETIC"), (kepteval, "__version__"), (torch, "__version__")):
        with monkeypatch.context() as patch:
            patch.setattr(where, what, "another")
            assert kept(shards, tmp_path, "a.pt", "b.pt").find() is None
    (tmp_path / "b.pt").write_bytes(b"other weightz")
    assert kept(shards, tmp_path, "a.pt", "b.pt").find() is None


def test_a_damaged_file_is_never_believed(shards: ShardSet, tmp_path: Path) -> None:
    kept(shards, tmp_path).keep(RESULT)
    path = tmp_path / KEPT_NAME
    whole, drawn = path.read_bytes(), random.Random(0)
    for _ in range(300):
        content = bytearray(whole)
        content[drawn.randrange(len(content))] ^= 1 << drawn.randrange(8)
        path.write_bytes(content)
        assert kept(shards, tmp_path).find() in (None, RESULT)
    for text in (b"", b"[]", b"{}", b'{"evaluations": 3}', b'{"evaluations": [3, {}]}', b"[" * 100_000, whole[:-9]):
        path.write_bytes(text)
        assert kept(shards, tmp_path).find() is None
    kept(shards, tmp_path).keep(RESULT)
    assert kept(shards, tmp_path).find() == RESULT


def test_a_checkpoint_that_was_replaced_meanwhile_is_not_kept(shards: ShardSet, tmp_path: Path) -> None:
    place = kept(shards, tmp_path)
    (tmp_path / "new.pt").write_bytes(b"weights")
    (tmp_path / "new.pt").replace(tmp_path / "a.pt")
    place.keep(RESULT)
    assert not (tmp_path / KEPT_NAME).exists()


def test_found_or_computed(shards: ShardSet, tmp_path: Path) -> None:
    said: list[str] = []
    computed: list[int] = []

    def compute() -> dict[str, Any]:
        computed.append(1)
        return RESULT

    for again, times in ((False, 1), (False, 1), (True, 2)):
        assert kept(shards, tmp_path).found_or_computed(compute, ONE, again, said.append) == RESULT
        assert len(computed) == times
    assert len(said) == 1
    (tmp_path / KEPT_NAME).unlink()
    (tmp_path / KEPT_NAME).mkdir()
    assert kept(shards, tmp_path).found_or_computed(compute, ONE, False, said.append) == RESULT
    assert "not kept" in said[1]
