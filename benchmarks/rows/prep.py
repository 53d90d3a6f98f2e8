"""Part 1: photos to shards of 256x256 pictures, ours and what people write, on one core and on two."""

import json
import shutil
import statistics
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import MemoryWatch, pinned, run
from benchmarks.results import Column, Part
from benchmarks.rounds import ContenderError, Figures, interleave
from benchmarks.rows.resize import psnr_db
from benchmarks.setup import Setup
from benchmarks.stream import PEERS, Contender

COMPARED = 24
NOTE = (
    "Plain RGB JPEGs as files to pictures of 256x256 at quality 95, {photos} files. Wall time after the imports and the "
    "start of worker processes; CPU time of all processes on one core. Memory is of the two-worker run, shared pages "
    "counted once. PSNR: against a float64 resize by the contender's own filter, over {compared} photos. The files "
    "are in the page cache."
)
COLUMNS = (
    Column(key="one", title="images/s, 1 core", better="more"),
    Column(key="two", title="images/s, 2 cores", better="more"),
    Column(key="cpu", title="CPU us an image", better="less"),
    Column(key="memory", title="peak MiB"),
    Column(key="kib", title="KiB an image"),
    Column(key="psnr", title="PSNR dB"),
    Column(key="filter", title="filter"),
)


@dataclass(frozen=True, kw_only=True)
class Way:
    """A contender and the filter that it resizes with; no filter: a limit, which makes no pictures."""

    contender: Contender
    filter: str = ""


def way(name: str, script: str, venv: str | None = None, filter_name: str = "", **settings: str) -> Way:
    return Way(contender=Contender(name=name, script=script, venv=venv, settings=settings), filter=filter_name)


WAYS = (
    way("ours", "ours_prep.py", None, "area"),
    way("limit: bare decode", "prep_limits.py", None, "", PART="decode"),
    way("limit: bare encode", "prep_limits.py", None, "", PART="encode"),
    way("limit: tar writing", "prep_limits.py", None, "", PART="tar"),
    way("Pillow, multiprocessing", "pillow_lanczos.py", "pillow", "lanczos"),
    way("OpenCV", "opencv_area.py", "opencv", "area"),
    way("torchvision v2", "torchvision_resize.py", "torchvision", "bilinear"),
    way("webdataset ShardWriter, Pillow", "webdataset_writer.py", "webdataset", "bicubic"),
    way("img2dataset, local server", "img2dataset_local.py", "img2dataset", "area"),
    way("ffcv DatasetWriter", "", "ffcv", "area"),
)


def command(chosen: Way, setup: Setup, workers: int) -> list[str]:
    script = str(PEERS / chosen.contender.script)
    return [str(chosen.contender.python), script, str(setup.photos), str(setup.work / "out"), "--workers", str(workers)]


def images_per_second(chosen: Way, setup: Setup, workers: int) -> dict[str, float]:
    """Images a second of wall time, and CPU us an image where its script tells that."""
    out = setup.work / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    with pinned(setup.cpus[:workers]):
        told = json.loads(run(command(chosen, setup, workers), chosen.contender.settings).splitlines()[-1])
    cpu = {"cpu": told["cpu_seconds"] / told["images"] * 1e6} if "cpu_seconds" in told else {}
    return {"rate": told["images"] / told["seconds"], **cpu}


def one_round(chosen: Way, setup: Setup) -> Callable[[], Figures]:
    def work() -> Figures:
        found = images_per_second(chosen, setup, 1)
        found["one"] = found.pop("rate")
        return found if len(setup.cpus) < 2 else {**found, "two": images_per_second(chosen, setup, 2)["rate"]}

    return work


def pictures(out: Path) -> Iterator[tuple[str, bytes]]:
    """(key, JPEG) of every picture below `out`, in files or in tars; img2dataset's are known by their addresses."""
    for path in sorted(out.rglob("*.jpg")):
        yield path.stem, path.read_bytes()
    for path in sorted(out.rglob("*.tar")):
        with tarfile.open(path) as archive:
            files = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
        for name, content in files.items():
            key = name.removesuffix(".jpg")
            if name.endswith(".jpg"):
                facts = json.loads(files[f"{key}.json"]) if f"{key}.json" in files else {"url": key}
                yield Path(facts["url"].removesuffix(".JPEG")).name, content


def once(chosen: Way, setup: Setup) -> dict[str, list[float] | str]:
    """Memory of a run of two workers, and the size and likeness of its pictures. Warms up what is measured then."""
    with MemoryWatch() as watch:
        images_per_second(chosen, setup, min(2, len(setup.cpus)))
    found: dict[str, list[float] | str] = {"memory": [watch.peak_mib], "filter": chosen.filter}
    if chosen.filter:
        made = dict(pictures(setup.work / "out"))
        names = sorted(path.stem for path in setup.photos.iterdir())
        if set(names) - set(made):
            raise ContenderError(f"made {len(made)} of {len(names)} pictures")
        some = names[:: max(1, len(names) // COMPARED)]
        likeness = [psnr_db((setup.photos / f"{name}.JPEG").read_bytes(), made[name], chosen.filter) for name in some]
        found |= {"kib": [statistics.mean(map(len, made.values())) / 1024], "psnr": [statistics.median(likeness)]}
    return found


def measure(setup: Setup, seconds: float) -> Part:
    """All ways: a first run for what is of one, then rounds."""
    ways = [chosen for chosen in WAYS if setup.peers or chosen.contender.venv is None]
    reasons = {chosen.contender.name: chosen.contender.missing() for chosen in ways}
    values: dict[str, dict[str, list[float] | str]] = {}
    for chosen in ways:
        name = chosen.contender.name
        if not reasons[name]:
            try:
                values[name] = once(chosen, setup)
            except ContenderError as error:
                reasons[name] = str(error)
    ready = {chosen.contender.name: chosen for chosen in ways if chosen.contender.name in values}
    found = interleave({name: one_round(chosen, setup) for name, chosen in ready.items()}, setup.rounds, seconds)
    for key in ("one", "two", "cpu"):
        for name, column in found.column(key).items():
            values[name][key] = column
    photos = len(list(setup.photos.iterdir()))
    return Part(
        key="prep",
        title="Prep",
        note=NOTE.format(photos=photos, compared=COMPARED),
        columns=COLUMNS,
        ours="ours",
        values=values,
        reasons={name: reason for name, reason in {**reasons, **found.reasons}.items() if reason},
        commands={name: " ".join(short(command(chosen, setup, 2))) for name, chosen in ready.items()},
    )


def short(words: list[str]) -> list[str]:
    """A command as one would type it."""
    root = str(PEERS.parent.parent) + "/"
    return ["python" if word == sys.executable else word.removeprefix(root) for word in words]
