"""A run's inputs: found beside each other, refused where they do not fit together."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import simplejpeg
import webdataset

from alexnet_shards.errors import AlexnetError
from alexnet_shards.files import file_sha256
from alexnet_shards.index import INDEX_DTYPE, save_index
from alexnet_shards.manifest import ShardFact, index_path, load_manifest, manifest_path, save_manifest
from alexnet_shards.shardset import open_shards
from alexnet_shards.stats import load_stats, save_stats
from alexnet_stream.stream import Stream, StreamConfig
from alexnet_train.evaluate import output_orders
from alexnet_train.recipe import load_recipe
from alexnet_train.rundata import open_run_data, with_classes


def test_files_beside_the_shards_serve(make_run: Callable[..., str], tmp_path: Path) -> None:
    data = open_run_data([make_run(tmp_path)], (), None)
    assert data.val is not None
    assert (data.train.num_samples, data.val.num_samples, data.stats.images) == (17, 11, 17)


def test_files_may_lie_elsewhere(make_run: Callable[..., str], tmp_path: Path) -> None:
    pattern = make_run(tmp_path / "a", val_sizes=())
    make_run(tmp_path / "b", val_sizes=(3,))
    (tmp_path / "a" / "stats.npz").rename(tmp_path / "moved.npz")
    assert open_run_data([pattern], (), tmp_path / "moved.npz").val is None
    data = open_run_data([pattern], [f"{tmp_path}/b/val-*.tar"], tmp_path / "moved.npz")
    assert data.val is not None
    assert data.val.num_samples == 3


def test_nothing_to_validate_on_is_said_before_the_first_epoch(
    make_run: Callable[..., str], shard_tools: SimpleNamespace, tmp_path: Path
) -> None:
    """It ended the run after it, and each that went on."""
    pattern, empty = make_run(tmp_path / "a"), tmp_path / "b" / "val-000.tar"
    empty.parent.mkdir()
    shard_tools.write_tar(empty, [])
    fact = ShardFact(name=empty.name, samples=0, bytes=empty.stat().st_size, sha256=file_sha256(empty))
    manifest = load_manifest(manifest_path(tmp_path / "a", "val"))
    sha256 = save_index(index_path(empty.parent, "val"), np.zeros(0, INDEX_DTYPE))
    save_manifest(manifest_path(empty.parent, "val"), replace(manifest, shards=(fact,), index_sha256=sha256))
    with pytest.raises(AlexnetError, match=f"{empty}: no samples to validate on; name other shards"):
        open_run_data([pattern], [str(empty)], None)
    with pytest.raises(AlexnetError, match=f"{empty}: no samples to evaluate on"):
        output_orders([], open_shards([str(empty)]))


def test_a_run_on_shards_that_webdataset_wrote(tmp_path: Path, make_run: Callable[..., str], draw_tools: Any) -> None:
    make_run(tmp_path / "ours", (4,))
    for folder, first in (("train", 0), ("val", 100)):
        (tmp_path / folder).mkdir()
        with webdataset.ShardWriter(f"{tmp_path}/{folder}/%05d.tar", maxcount=4, verbose=0) as writer:
            for number in range(10):
                jpeg = draw_tools.encode(draw_tools.draw_image(first + number))
                writer.write({"__key__": f"photo{number}", "jpg": jpeg, "cls": number % 7})
    train = open_shards([f"{tmp_path}/train/*.tar"])
    stats = load_stats(tmp_path / "ours" / "stats.npz")
    save_stats(tmp_path / "train" / "stats.npz", replace(stats, fingerprint=train.fingerprint))
    data = open_run_data([f"{tmp_path}/train/<00000..00002>.tar"], [f"{tmp_path}/val/*.tar"], None)
    assert data.val is not None
    for shards, first in ((data.train, 0), (data.val, 100)):
        with Stream(shards, StreamConfig(batch_size=10, seed=0, shuffle=False, crop="none")) as stream:
            (batch,) = stream.epoch()
        assert batch.labels.tolist() == [number % 7 for number in range(10)]
        for number, image_hwc in enumerate(batch.images_nhwc.numpy()):
            jpeg = draw_tools.encode(draw_tools.draw_image(first + number))
            assert np.abs(image_hwc.astype(int) - simplejpeg.decode_jpeg(jpeg)).max() <= 1


def test_statistics_of_the_whole_split_serve_a_part(make_run: Callable[..., str], tmp_path: Path) -> None:
    make_run(tmp_path)
    assert open_run_data([f"{tmp_path}/train-000.tar"], (), None).train.num_samples == 9


def test_shards_that_a_range_leaves_out_are_said(make_run: Callable[..., str], tmp_path: Path) -> None:
    """As 000..999 does of 1,017."""
    make_run(tmp_path, (3, 4, 5))
    said: list[str] = []
    assert open_run_data([f"{tmp_path}/train-{{000..001}}.tar"], (), None, said.append).train.num_samples == 7
    assert said == [
        f"{tmp_path}: 1 of 3 shards of train are left out, train-002.tar first; --shards {tmp_path} takes all"
    ]
    for whole in (f"{tmp_path}/train-<000..002>.tar", str(tmp_path)):
        open_run_data([whole], (), None, said.append)
    assert len(said) == 1


def test_statistics_of_other_shards_are_refused(make_run: Callable[..., str], tmp_path: Path) -> None:
    pattern = make_run(tmp_path)
    stats = load_stats(tmp_path / "stats.npz")
    save_stats(tmp_path / "stats.npz", replace(stats, fingerprint="0" * 64))
    with pytest.raises(AlexnetError, match="statistics of other shards"):
        open_run_data([pattern], (), None)


def test_missing_statistics_are_named(make_run: Callable[..., str], tmp_path: Path) -> None:
    pattern = make_run(tmp_path)
    (tmp_path / "stats.npz").unlink()
    with pytest.raises(AlexnetError, match="give --stats FILE, or .*compute-stats"):
        open_run_data([pattern], (), None)


def test_other_classes_are_refused(
    make_run: Callable[..., str], make_shards: Callable[..., str], tmp_path: Path
) -> None:
    pattern = make_run(tmp_path)
    other = make_shards(tmp_path / "other", (4,), "val", 3)
    with pytest.raises(AlexnetError, match="3 classes that are not the 7"):
        open_run_data([pattern], [other], None)


def test_private_labels_are_refused(make_run: Callable[..., str], shard_tools: SimpleNamespace, tmp_path: Path) -> None:
    pattern = make_run(tmp_path)
    (tmp_path / "val-001.tar").unlink()
    shard_tools.write_tar(tmp_path / "val-000.tar", [("a.jpg", b"1"), ("b.jpg", b"2")])
    shard_tools.write_index(tmp_path, "val")
    with pytest.raises(AlexnetError, match="private"):
        open_run_data([pattern], (), None)


def test_number_of_classes(make_run: Callable[..., str], tmp_path: Path) -> None:
    shards = open_shards([make_run(tmp_path)])
    assert with_classes(load_recipe("released"), shards).model.num_classes == 7
    assert with_classes(load_recipe("released", ["num_classes=1000"]), shards).model.num_classes == 1000
    with pytest.raises(AlexnetError, match="num_classes is 6, but the shards have 7"):
        with_classes(load_recipe("released", ["num_classes=6"]), shards)


OTHER_RANK = """
import os, sys
from pathlib import Path
from alexnet_shards.errors import AlexnetError
from alexnet_train.distributed import join_world
from alexnet_train.rundata import check_processes_agree, open_run_data

with join_world("cpu") as world:
    # At last the second process sees no validation shards, as where a store answers it alone that they are not there.
    for second in ("whole", "without"):
        directory = Path(sys.argv[1]) / ("whole" if world.is_main else second)
        data = open_run_data([f"{directory}/train-*.tar"], [], None, lambda line: None)
        try:
            check_processes_agree(data, world)
        except AlexnetError as error:
            sys.exit(f"{second}: {error}")
"""


def test_processes_that_see_other_files_are_told_in_one_line(make_run: Callable[..., str], tmp_path: Path) -> None:
    make_run(tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "without")
    for path in (tmp_path / "without").glob("val*"):
        path.unlink()
    script = tmp_path / "rank.py"
    script.write_text(OTHER_RANK)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    done = subprocess.run([*launcher, str(tmp_path)], capture_output=True, text=True, timeout=240, check=False)
    (told,) = [
        line for line in done.stderr.splitlines() if "have opened different training or validation shards" in line
    ]
    assert told.startswith("without: ")
    assert done.returncode != 0


def named(directory: Path, old: str, new: str) -> None:
    """The shards of a split under another name, without index and manifest."""
    for path in directory.glob(f"{old}-*.tar"):
        path.rename(directory / path.name.replace(old, new, 1))
    for path in directory.glob(f"{old}.*"):
        path.unlink()


def test_validation_goes_by_either_spelling(
    tmp_path: Path, make_run: Callable[..., str], shard_tools: SimpleNamespace
) -> None:
    pattern, said = make_run(tmp_path), list[str]()
    named(tmp_path, "val", "validation")
    shard_tools.write_index(tmp_path, "validation")
    data = open_run_data([pattern], (), None, said.append)
    assert data.val is not None
    assert (data.val.num_samples, data.val.manifest.split, said) == (11, "validation", [])


def test_validation_beside_a_set_with_a_longer_name(tmp_path: Path, make_run: Callable[..., str]) -> None:
    make_run(tmp_path)
    named(tmp_path, "train", "small-train")
    named(tmp_path, "val", "small-validation")
    data = open_run_data([f"{tmp_path}/small-train-*.tar"], (), None)
    assert data.val is not None
    assert data.val.paths[0].endswith("small-validation-000.tar")


def test_both_spellings_are_said(tmp_path: Path, make_run: Callable[..., str], make_shards: Callable[..., str]) -> None:
    pattern, said = make_run(tmp_path), list[str]()
    make_shards(tmp_path, (3,), "validation")
    data = open_run_data([pattern], (), None, said.append)
    assert data.val is not None
    assert data.val.manifest.split == "val"
    assert said == [f"{tmp_path}: validated on val-*.tar; validation-*.tar lies there too, choose it with --val-shards"]


def test_a_validation_set_of_another_name_is_not_passed_over(tmp_path: Path, make_run: Callable[..., str]) -> None:
    pattern, said = make_run(tmp_path), list[str]()
    named(tmp_path, "val", "valid")
    assert open_run_data([pattern], (), None, said.append).val is None
    assert said == [
        f"no validation set, so errors are of training images alone: {tmp_path} holds no val-*.tar or validation-*.tar "
        "(beside the training shards lie valid (2 shards)); name others with --val-shards"
    ]
