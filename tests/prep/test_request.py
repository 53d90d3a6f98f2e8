"""What a repair asks for is what the set was made with."""

from pathlib import Path
from typing import Any

import pytest

from alexnet_prep.errors import RunError
from alexnet_prep.request import repair_requests


def test_a_repair_asks_for_the_same(small_source: Any, tmp_path: Path, prep: Any) -> None:
    words = ("--out", tmp_path / "out", "--split", "val", "--seed", 3, "--num-shards", 2, "--max-file-mib", 7)
    prep("shards", "--source", small_source.directory, *words, "--quality", 80)
    (request,) = repair_requests(tmp_path / "out", ["val"], small_source.directory, 2)
    assert (request.seed, request.num_shards, request.recipe.quality) == (3, 2, 80)
    assert (request.max_member_bytes, request.read, request.stats) == (7 << 20, "auto", False)


def test_a_stranger_is_not_repaired(tmp_path: Path, make_shards: Any) -> None:
    make_shards(tmp_path / "set", (3,))
    with pytest.raises(RunError, match="was not made by alexnet-prep"):
        list(repair_requests(tmp_path / "set", ["train"], tmp_path, 1))
