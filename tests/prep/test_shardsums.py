"""Sums beside a shard: they are of that shard's bytes or are made again."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alexnet_pixels.recipe import PixelRecipe
from alexnet_prep.job import BuildSetup
from alexnet_prep.shardsums import has_sums, load_sums, remove_sums, save_sums, split_stats, sum_shard, sums_path
from alexnet_prep.sidecar import Sidecar
from alexnet_prep.statistics import compute_stats
from alexnet_shards.errors import FormatError
from alexnet_shards.index import INDEX_DTYPE, load_index
from alexnet_shards.manifest import load_manifest


def test_sums_give_the_statistics_of_the_shards(tmp_path: Path, make_shards: Any) -> None:
    pattern = make_shards(tmp_path / "set", (5, 4))
    manifest = load_manifest(tmp_path / "set" / "train.manifest.json")
    index = load_index(tmp_path / "set" / "train.index.npy")
    setup = BuildSetup(containers=(), recipe=PixelRecipe(), out=tmp_path / "set", sidecars=tmp_path)
    shards = list[Sidecar]()
    for number, fact in enumerate(manifest.shards):
        rows = np.array(index[index["shard"] == number])
        coded = base64.b64encode(np.array(rows, INDEX_DTYPE).tobytes()).decode()
        facts: dict[str, Any] = {"name": fact.name, "samples": fact.samples, "bytes": fact.bytes, "sha256": fact.sha256}
        shards.append(Sidecar(number=number, rows=coded, dropped=[], converted={}, patched=[], **facts))
        moments = sum_shard(tmp_path / "set" / fact.name, rows, lambda: None)
        save_sums(sums_path(setup, fact.name), moments, fact.sha256)
        assert load_sums(sums_path(setup, fact.name), fact.sha256).products == moments.products
    assert not has_sums(sums_path(setup, shards[0].name), "0" * 64)
    wanted = compute_stats([pattern], tmp_path / "stats.npz", 1, lambda *_: None)
    for _ in range(2):  # the second time without sums: the shards are decoded
        found = split_stats(setup, shards, manifest.fingerprint(), 1)
        np.testing.assert_array_equal(found.mean_image_hwc, wanted.mean_image_hwc)
        np.testing.assert_array_equal(found.eigenvectors, wanted.eigenvectors)
        assert found.fingerprint == wanted.fingerprint
        remove_sums(setup, shards)
        assert not sums_path(setup, shards[0].name).exists()
    rows["crc32"] ^= 1
    with pytest.raises(FormatError, match="its checksum is wrong"):
        sum_shard(tmp_path / "set" / shards[1].name, rows, lambda: None)
