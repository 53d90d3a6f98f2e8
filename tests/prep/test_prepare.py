"""A split made ready: every image in one job, the same plan for parts that begin at once, bound to what was asked."""

from pathlib import Path
from typing import Any

import pytest

from alexnet_command.progress import Progress
from alexnet_pixels.recipe import PixelRecipe
from alexnet_prep.errors import RunError
from alexnet_prep.prepare import begin, jobs_of, known_facts
from alexnet_prep.progress import RunProgress
from alexnet_prep.request import ShardsRequest
from alexnet_prep.source import find_source


def request(source: Path, out: Path, seed: int = 0) -> ShardsRequest:
    return ShardsRequest(
        source=source,
        out=out,
        split="all",
        edition="auto",
        num_shards=3,
        workers=1,
        seed=seed,
        label_order=None,
        recipe=PixelRecipe(),
        hang_seconds=60.0,
    )


def test_a_split_is_bound_to_what_was_asked(small_source: Any, tmp_path: Path) -> None:
    source = find_source(small_source.directory, "auto")
    with Progress("shards", "images", quiet=True) as quiet:
        progress, asked = RunProgress(quiet), request(small_source.directory, tmp_path / "out")
        (tmp_path / "out").mkdir()
        begun = begin(asked, source, ("train", "val"), progress)
        prepared, setup = begun[0]
        keys = [bytes(key) for job in jobs_of(prepared.images, prepared.plan) for key in job.keys]
        assert sorted(keys) == sorted(prepared.images.keys.tolist())
        assert len(keys) == 24
        assert (setup.sidecars / "plan.json").is_file()
        assert known_facts(asked).items() <= prepared.facts.items()
        again = begin(asked, source, ("train", "val"), progress)
        assert [each.images.identity() for each, _ in again] == [each.images.identity() for each, _ in begun]
        with pytest.raises(RunError, match="another seed"):
            begin(request(small_source.directory, tmp_path / "out", seed=1), source, ("train",), progress)
