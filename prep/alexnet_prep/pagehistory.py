"""How shards were made, for the report's page: where the workers' time went, options and versions, and the commands."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from alexnet_command.units import duration_text
from alexnet_pages import Block, Commands, Pairs, Row, Table, Text
from alexnet_pages.charts import bar_chart
from alexnet_pixels import PixelRecipe
from alexnet_prep.job import STAGES
from alexnet_prep.plan import usual_num_shards
from alexnet_prep.stagetimes import TIMES_NAME, StageTimes, load_times
from alexnet_shards import __version__
from alexnet_shards.manifest import BUILD_DIRECTORY, Manifest

SHOWN_FILES = 40
UNKNOWN_SOURCE = "/path/to/archives"


def time_blocks(directory: Path, splits: Sequence[str]) -> Iterator[Block]:
    """Where the workers' time went, a chart a split, as far as it was noted."""
    found = {split: load_times(directory / BUILD_DIRECTORY / split / TIMES_NAME) for split in splits}
    times = {split: each for split, each in found.items() if each is not None and each.wall_s > 0}
    if not times:
        yield Text(text=f"Nothing is noted: {BUILD_DIRECTORY} is gone, or no run of this version made the shards here.")
        return
    for split, each in times.items():
        yield Text(
            text=f"{split} was bound by its stage “{each.bound}”, {_share(each, each.bound):.0%} of the workers' "
            f"{duration_text(each.wall_s)}. They computed for {1 - each.waiting:.0%} of that; the rest they waited, "
            "for disks or for others on their processors."
        )
    charts = tuple(
        bar_chart(
            f"Time a stage, {split}",
            f"{split}: " + ", ".join(f"{stage} {_share(each, stage):.0%}" for stage in STAGES),
            [*((stage, round(each.stages[stage], 2)) for stage in STAGES), ("other", round(each.other_s, 2))],
            ("stage", "seconds of all workers together"),
        )
        for split, each in times.items()
    )
    yield Row(blocks=charts, side_px=320)
    header = ("split", "jobs", *STAGES, "other", "all", "computing", "waiting")
    yield Table(
        header=header,
        rows=tuple(_time_row(split, each) for split, each in times.items()),
        caption="All workers together",
    )


def _time_row(split: str, times: StageTimes) -> tuple[str, ...]:
    seconds = (*times.stages.values(), times.other_s, times.wall_s, times.cpu_s, max(0.0, times.wall_s - times.cpu_s))
    return (split, f"{times.jobs:,}", *map(duration_text, seconds))


def _share(times: StageTimes, stage: str) -> float:
    return times.stages[stage] / times.wall_s


def made_blocks(directory: Path, manifests: Mapping[str, Manifest], source: Path | None) -> Iterator[Block]:
    """Options, versions, fingerprints, the source's files, and the commands that make the same again."""
    manifest = next(iter(manifests.values()))
    yield Pairs(
        pairs=(
            ("edition", manifest.edition),
            ("label order", manifest.label_order),
            ("seed of the shuffle", str(manifest.seed)),
            *((name.replace("_", " "), _shown(value)) for name, value in manifest.recipe.items()),
            *manifest.libraries.items(),
            ("this page", f"alexnet-replication {__version__}"),
        )
    )
    rows = tuple(
        (split, f"{len(m.shards):,}", f"{m.samples:,}", m.fingerprint()[:16]) for split, m in manifests.items()
    )
    yield Table(header=("split", "shards", "images", "fingerprint begins"), rows=rows)
    containers = sorted({str(name) for m in manifests.values() for name in m.source.get("containers", [])})
    if containers:
        yield source_table(containers)
    yield Text(text="The commands that make them again, check them and draw this page:")
    yield Commands(lines=tuple(command_lines(directory, manifests, source)))


def _shown(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def source_table(containers: Sequence[str]) -> Table:
    """The files of the source, the first of many."""
    more = len(containers) - SHOWN_FILES
    rows = [(name,) for name in containers[:SHOWN_FILES]] + ([(f"… and {more:,} more",)] if more > 0 else [])
    return Table(header=("files of the source",), rows=tuple(rows))


def command_lines(directory: Path, manifests: Mapping[str, Manifest], source: Path | None) -> Iterator[str]:
    """What to type for the same shards, their statistics, their check and this page; one line where splits share one."""
    shards, read = str(directory), UNKNOWN_SOURCE if source is None else str(source)
    asked = {split: _options(split, manifest) for split, manifest in manifests.items()}
    made = {split: options for split, options in asked.items() if options is not None}
    if len(made) == len(manifests) > 1 and len(set(made.values())) == 1:
        made = {"all": next(iter(made.values()))}
    for split, manifest in manifests.items():
        if asked[split] is None:
            first = manifest.shards[0].name if manifest.shards else f"{split}-*.tar"
            yield _line("alexnet-prep", "index", "--shards", f"{shards}/{first.partition('-')[0]}-*.tar")
    for split, options in made.items():
        chosen = () if split == "all" else ("--split", split)
        yield _line("alexnet-prep", "shards", "--source", read, "--out", shards, *chosen, *options)
    if "train" in manifests:
        yield _line("alexnet-prep", "compute-stats", "--shards", shards)
    yield _line("alexnet-prep", "verify", "--shards", shards)
    yield _line("alexnet-prep", "report", "--shards", shards, "--source", read, "--html")


def _options(split: str, manifest: Manifest) -> tuple[str, ...] | None:
    """The options of a split that are not what goes without saying; None where alexnet-prep did not make it."""
    if not manifest.recipe:
        return None
    recipe, usual = PixelRecipe.from_dict(manifest.recipe), PixelRecipe()
    members = manifest.report.get("members", manifest.samples)
    said = {
        "--num-shards": (len(manifest.shards), usual_num_shards(split, members)),
        "--seed": (manifest.seed, 0),
        "--quality": (recipe.quality, usual.quality),
        "--filter": (recipe.filter, usual.filter),
        "--subsampling": (recipe.subsampling, usual.subsampling),
        "--labels": (manifest.label_order, "devkit"),
        "--columns": (manifest.source.get("columns", ""), ""),
        "--label": (manifest.source.get("label_place", ""), ""),
    }
    words = [word for name, (value, usually) in said.items() if value != usually for word in (name, str(value))]
    return (*words, *(("--keep-truncated",) if recipe.keep_truncated else ()))


def _line(*words: str) -> str:
    return shlex.join(words)
