"""Part 2: shards to random crops in batches, ours and other loaders, each with as many threads or workers as cores."""

import json
from collections.abc import Callable
from pathlib import Path

from benchmarks.machine import MemoryWatch, busy_processes, pinned, run
from benchmarks.results import Column, Part
from benchmarks.rounds import ContenderError, Figures, interleave
from benchmarks.rows.prep import short
from benchmarks.setup import Setup
from benchmarks.stream import CONTENDERS, PEERS, Contender

OF_ONE_THREAD = {"ours, no compiler", "ours, 2 threads", "ours, whole images", "ShardDataset, whole images"}
LIMIT = "decode alone"
LOADED = (LIMIT, "ours", "DALI, CPU pipeline")
NOTE = (
    "Random 224x224 crops as uint8 batches of 128, ready for the device, of {images} samples an epoch, by {workers} "
    "threads or workers on as many cores. Whole epochs after the first; CPU time of all processes; first batch: from "
    "the start of the process, on fewer samples resume and the rest. Resume: from a state saved in mid-epoch to the "
    "next batch, new loader; exact: it is the batch that would have come; a loader without a state reads again. Same "
    "order, same crops: an epoch's keys, and its crops, by 1, 2 and 4 threads or workers."
)
COLUMNS = (
    Column(key="rate", title="images/s", better="more"),
    Column(key="cpu", title="CPU us an image", better="less"),
    Column(key="first", title="first batch s", better="less"),
    Column(key="memory", title="peak MiB"),
    Column(key="resume", title="resume s"),
    Column(key="exact", title="exact"),
    Column(key="order", title="same order"),
    Column(key="crops", title="same crops"),
)


def command(contender: Contender, folder: Path, *words: str) -> list[str]:
    return [str(contender.python), str(PEERS / contender.script), str(folder), *words]


def told(contender: Contender, folder: Path, workers: int, *words: str) -> dict[str, object]:
    """The JSON that a contender prints."""
    settings = {**contender.settings, "WORKERS": str(workers)}
    printed: dict[str, object] = json.loads(run(command(contender, folder, *words), settings).splitlines()[-1])
    return printed


def counted(contender: Contender, folder: Path, images: int, workers: int, seconds: float) -> Figures:
    """Images a second, CPU us an image and seconds to the first batch, over whole epochs."""
    found = told(contender, folder, workers, "--images", str(images), "--seconds", str(seconds))
    number = {name: float(str(value)) for name, value in found.items()}
    return {
        "rate": number["images"] / number["wall_seconds"],
        "cpu": number["seconds"] / number["images"] * 1e6,
        "first": number["first_seconds"],
    }


def once(contender: Contender, setup: Setup) -> dict[str, list[float] | str]:
    """Memory, resuming, and whether the number of workers changes an epoch."""
    folder, images = setup.shards("few", 2 if setup.quick else 4, 1)
    workers = len(setup.cpus)
    with MemoryWatch() as watch:
        counted(contender, folder, images, workers, 0.1)
    found: dict[str, list[float] | str] = {"memory": [watch.peak_mib]}
    if contender.name == LIMIT:
        return found
    try:
        resumed = told(contender, folder, workers, "--resume")
        found["resume"] = [float(str(resumed["resume_seconds"]))]
        found["exact"] = ("yes" if resumed["exact"] else "no") + ("" if resumed["state"] else ", no state")
    except ContenderError as error:
        found["exact"] = str(error)[:60]
    orders = [told(contender, folder, number, "--order") for number in (1, 2, 4)]
    for name in ("order", "crops"):
        found[name] = "yes" if len({str(order[name]) for order in orders}) == 1 else "no"
    return found


def chosen(setup: Setup) -> list[Contender]:
    every = [one for one in CONTENDERS if one.name not in OF_ONE_THREAD]
    if setup.quick:
        return [one for one in every if one.name in ("ours", LIMIT)]
    return [one for one in every if setup.peers or one.venv is None]


def measure(setup: Setup, seconds: float) -> Part:
    """A first run of each, then rounds."""
    folder, images = setup.shards("many", 2 if setup.quick else 4, 1 if setup.quick else 3)
    contenders = chosen(setup)
    reasons = {one.name: one.missing() for one in contenders}
    values: dict[str, dict[str, list[float] | str]] = {}
    with pinned(setup.cpus):
        for one in contenders:
            if not reasons[one.name]:
                try:
                    values[one.name] = once(one, setup)
                except ContenderError as error:
                    reasons[one.name] = str(error)
        ready = [one for one in contenders if one.name in values]
        works = {one.name: counter(one, folder, images, len(setup.cpus)) for one in ready}
        found = interleave(works, setup.rounds, seconds)
    for key in ("rate", "cpu", "first"):
        for name, column in found.column(key).items():
            values[name][key] = column
    return Part(
        key="stream",
        title="Stream",
        note=NOTE.format(images=images, workers=len(setup.cpus)),
        columns=COLUMNS,
        ours="ours",
        values=values,
        reasons={name: reason for name, reason in {**reasons, **found.reasons}.items() if reason},
        commands={
            one.name: " ".join([f"WORKERS={len(setup.cpus)}", *short(command(one, folder, "--images", str(images)))])
            for one in ready
        },
    )


def counter(contender: Contender, folder: Path, images: int, workers: int, busy: int = 0) -> Callable[[], Figures]:
    def work() -> Figures:
        with busy_processes(busy):
            return counted(contender, folder, images, workers, 0.5)

    return work


def measure_load(setup: Setup, seconds: float, busy: int = 2) -> Part:
    """Ours, decoding alone and DALI with one thread each, idle and beside busy processes, in turns."""
    folder, images = setup.shards("some", 2, 1 if setup.quick else 3)
    contenders = [one for one in CONTENDERS if one.name in LOADED and not one.missing()]
    contenders = [one for one in contenders if setup.peers or one.venv is None]
    works = {
        f"{one.name}{', beside busy processes' if number else ''}": counter(one, folder, images, 1, number)
        for one in contenders
        for number in (0, busy)
    }
    with pinned(setup.cpus):
        found = interleave(works, setup.rounds, seconds)
    values: dict[str, dict[str, list[float] | str]] = {
        name: {key: [figures[key] for figures in rounds] for key in ("rate", "cpu")}
        for name, rounds in found.figures.items()
    }
    for name, each in values.items():
        loaded = ", beside busy processes" in name
        ours = values.get("ours, beside busy processes" if loaded else "ours", {})
        each["against"] = [a / b for a, b in zip(each["cpu"], ours.get("cpu", ()), strict=False)]  # type: ignore[operator]
    return Part(
        key="load",
        title=f"Stream beside {busy} busy processes",
        note=f"One thread each on {len(setup.cpus)} cores, {images} samples an epoch; the busy processes compute and copy "
        "memory. "
        "The last column is each one's CPU time over that of ours under the same load.",
        columns=(
            Column(key="rate", title="images/s"),
            Column(key="cpu", title="CPU us an image"),
            Column(key="against", title="CPU time over ours"),
        ),
        ours="ours",
        values=values,
        reasons=found.reasons,
    )
