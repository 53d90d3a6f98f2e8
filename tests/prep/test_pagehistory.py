"""How shards were made, on the page: the commands are read by the commands themselves, times are those of the file."""

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from alexnet_pages import Row, Table, Text
from alexnet_pixels import PixelRecipe
from alexnet_prep.commands import commands
from alexnet_prep.job import Seconds
from alexnet_prep.pagehistory import SHOWN_FILES, command_lines, source_table, time_blocks
from alexnet_prep.stagetimes import TIMES_NAME, note_times
from alexnet_shards import Manifest
from alexnet_shards.manifest import ShardFact

RECIPE = PixelRecipe(quality=90, filter="lanczos", keep_truncated=True)


def manifest_of(split: str, images: int, num_shards: int, **more: object) -> Manifest:
    facts = tuple(
        ShardFact(name=f"{split}-{number:03d}.tar", samples=0, bytes=1, sha256="0" * 64) for number in range(num_shards)
    )
    known: dict[str, object] = {"label_order": "devkit", "recipe": PixelRecipe().as_dict(), **more}
    return Manifest(split=split, classes=(), shards=facts, report={"members": images}, **known)  # type: ignore[arg-type]


def parsed(lines: Iterator[str]) -> list[tuple[str, dict[str, object]]]:
    """Each line as click reads it; raises for what it does not know."""
    found = []
    for line in lines:
        name, *words = shlex.split(line)[1:]
        found.append((name, commands.commands[name].make_context(name, words).params))
    return found


def test_what_goes_without_saying_is_not_said() -> None:
    manifests = {"train": manifest_of("train", 1_261_406, 1000), "val": manifest_of("val", 50_000, 40)}
    lines = list(command_lines(Path("my shards"), manifests, None))
    assert lines == [
        "alexnet-prep shards --source /path/to/archives --out 'my shards'",
        "alexnet-prep compute-stats --shards 'my shards'",
        "alexnet-prep verify --shards 'my shards'",
        "alexnet-prep report --shards 'my shards' --source /path/to/archives --html",
    ]
    parsed(iter(lines))


def test_each_split_has_its_options(tmp_path: Path) -> None:
    source = tmp_path / "a source"
    source.mkdir()
    odd = manifest_of("train", 100, 7, seed=3, recipe=RECIPE.as_dict(), label_order="wnid")
    found = parsed(command_lines(tmp_path, {"train": odd, "val": manifest_of("val", 50, 1)}, source))
    assert [name for name, _ in found] == ["shards", "shards", "compute-stats", "verify", "report"]
    train, val = found[0][1], found[1][1]
    assert (train["split"], train["num_shards"], train["seed"], train["quality"]) == ("train", 7, 3, 90)
    assert (train["filter"], train["keep_truncated"], train["labels"]) == ("lanczos", True, "wnid")
    assert (val["split"], val["num_shards"], val["keep_truncated"]) == ("val", None, False)


def test_shards_made_elsewhere_are_indexed(tmp_path: Path) -> None:
    found = parsed(command_lines(tmp_path, {"set": manifest_of("set", 5, 1, recipe={})}, None))
    assert [name for name, _ in found] == ["index", "verify", "report"]


def test_times_are_those_that_were_noted(tmp_path: Path) -> None:
    (words,) = time_blocks(tmp_path, ("train",))
    assert isinstance(words, Text)
    assert words.text.startswith("Nothing is noted")
    (tmp_path / ".build" / "train").mkdir(parents=True)
    seconds = Seconds(wall_s=200.0, cpu_s=150.0)
    seconds.stages.update(read=10.0, decode=120.0, write=30.0)
    note_times(tmp_path / ".build" / "train" / TIMES_NAME, "train-000.tar", seconds)
    text, row, table = time_blocks(tmp_path, ("train", "val"))
    assert isinstance(text, Text)
    assert isinstance(row, Row)
    assert isinstance(table, Table)
    assert "“decode”, 60% of the workers' 3 min 20 s. They computed for 75%" in text.text
    assert table.rows == (
        ("train", "1", "10 s", "2 min 00 s", "0.00 s", "0.00 s", "30 s", "40 s", "3 min 20 s", "2 min 30 s", "50 s"),
    )


@pytest.mark.parametrize("count", [1, SHOWN_FILES, SHOWN_FILES + 3])
def test_many_files_are_cut_with_a_word(count: int) -> None:
    table = source_table([f"{number}.tar" for number in range(count)])
    assert len(table.rows) == min(count, SHOWN_FILES + 1)
    assert (table.rows[-1] == ("… and 3 more",)) is (count > SHOWN_FILES)
