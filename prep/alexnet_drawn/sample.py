"""A small source in the exact layout of the official archives, drawn, with every kind of odd file in it."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from alexnet_drawn.drawnkit import ground_truth, write_devkit
from alexnet_drawn.errors import DrawError
from alexnet_drawn.shots import SamplePlan, Shot, plan_sample, render_shot
from alexnet_drawn.tarwrite import directory_header, end_tar, file_header, write_member
from alexnet_shards.editions import EDITIONS
from alexnet_shards.errors import FormatError
from alexnet_shards.files import atomic_file, worded, write_atomic
from alexnet_shards.parsing import Where, load_json
from alexnet_shards.pool import Pool, worker_pool

FACTS_NAME = "sample.json"
CHUNK_SHOTS = 16

Contents = Iterator[bytes]


@dataclass(frozen=True, kw_only=True)
class SampleRequest:
    """What to draw and where: the layout of `edition` ("2010" or "2012"), sizes a class, a seed >= 0.

    `workers` processes draw; their number does not change a byte.
    """

    directory: Path
    edition: str = "2010"
    classes: int = 10
    train_per_class: int = 130
    val_per_class: int = 20
    test_per_class: int = 5
    seed: int = 0
    workers: int = 1

    def identity(self) -> dict[str, Any]:
        """What the archives' bytes depend on."""
        names = ("edition", "classes", "train_per_class", "val_per_class", "test_per_class", "seed")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, kw_only=True)
class SampleFacts:
    """What a drawn source holds.

    `archives`: bytes by file name; `members`: images by split; `odd`: names of the odd files by split and kind;
    `patched`: names with a patch, by split; `dotfile`: what rsync left, no member; `reused`: it was there already.
    """

    directory: Path
    request: dict[str, Any]
    archives: dict[str, int]
    members: dict[str, int]
    classes: list[dict[str, Any]]
    odd: dict[str, dict[str, list[str]]]
    patched: dict[str, list[str]]
    dotfile: str
    reused: bool = False

    def as_json(self) -> dict[str, Any]:
        """The facts as plain JSON values."""
        return {**vars(self), "directory": str(self.directory)}


def draw_source(request: SampleRequest, progress: Callable[[int, int], None]) -> SampleFacts:
    """Draw the archives of `request` into its directory, and `sample.json` with what is in them.

    `progress(done, total)` is called as images are written. Every archive appears whole or not at all; the same
    request gives the same bytes. A source of the same request that is there already is kept (`reused`). Raises
    DrawError where the directory holds other archives or cannot be written, and for sizes that cannot be drawn.
    """
    _check(request)
    plan = plan_sample(request.identity())
    with worded(request.directory):
        request.directory.mkdir(parents=True, exist_ok=True)
        there = _facts_there(request)
        if there is not None:
            return there
        _write_facts(request, {"request": request.identity(), "complete": False})
        with _rendering(request) as render:
            _write_archives(request, plan, _counted(render, progress, len(plan.shots())))
        facts = _facts(request, plan)
        stored = {name: value for name, value in facts.as_json().items() if name not in ("directory", "reused")}
        _write_facts(request, {**stored, "complete": True})
    return facts


def _check(request: SampleRequest) -> None:
    limits = {"classes": (2, 10), "train_per_class": (1, 100_000), "val_per_class": (1, 100_000)}
    limits |= {"test_per_class": (1, 100_000), "seed": (0, 2**63), "workers": (1, 1024)}
    for name, (low, high) in limits.items():
        if not low <= getattr(request, name) <= high:
            raise DrawError(f"sample: {name} is {getattr(request, name)}; expected {low}..{high}")
    if request.edition not in EDITIONS:
        raise DrawError(f"sample: edition is {request.edition!r}; expected one of {', '.join(EDITIONS)}")


def _names(edition_name: str) -> tuple[str, ...]:
    edition = EDITIONS[edition_name]
    names = (edition.train, edition.val, edition.tests[0], edition.devkit, edition.test_truth, edition.patch)
    return tuple(name for name in names if name)


def _facts_there(request: SampleRequest) -> SampleFacts | None:
    """Facts of a whole source of the same request; None where it is to be drawn, an error where others lie there."""
    held = [name for edition in EDITIONS for name in _names(edition) if (request.directory / name).exists()]
    try:
        facts = load_json(Where(path=request.directory / FACTS_NAME, what="list of facts", remedy="draw elsewhere"))
        drawn = facts["request"]
        same = drawn == request.identity()
    except FileNotFoundError:
        if not held:
            return None
        drawn, same = f"{held[0]}, not drawn here", False
    except (FormatError, KeyError, TypeError):
        drawn, same = f"{FACTS_NAME}, which is damaged", False
    if not same:
        raise DrawError(
            f"{request.directory}: holds {drawn}; expected nothing or the same sample: draw into another directory"
        )
    if not facts.pop("complete", False):
        return None
    archives = facts.get("archives", {})
    sizes = {name: (request.directory / name).stat().st_size for name in held}
    return SampleFacts(directory=request.directory, reused=True, **facts) if sizes == archives else None


def _write_facts(request: SampleRequest, facts: dict[str, Any]) -> None:
    write_atomic(request.directory / FACTS_NAME, (json.dumps(facts, indent=1) + "\n").encode())


def _facts(request: SampleRequest, plan: SamplePlan) -> SampleFacts:
    splits = {"train": [shot for shots in plan.train for shot in shots], "val": plan.val, "test": plan.test}
    odd: dict[str, dict[str, list[str]]] = {}
    for split, shots in splits.items():
        odd[split] = {}
        for shot in shots:
            if shot.kind != "photo":
                odd[split].setdefault(shot.kind, []).append(shot.name)
    return SampleFacts(
        directory=request.directory,
        request=request.identity(),
        archives={name: (request.directory / name).stat().st_size for name in _names(request.edition)},
        members={split: len(shots) for split, shots in splits.items()},
        classes=[vars(drawn) for drawn in plan.classes],
        odd=odd,
        patched={split: [shot.name for shot in shots] for split, shots in plan.patches.items()},
        dotfile=plan.dotfile.name,
    )


@contextmanager
def _rendering(request: SampleRequest) -> Iterator[Callable[[Iterable[Shot]], Contents]]:
    """A function that gives the bytes of shots in order, drawn here or by `workers` processes."""
    draw = partial(render_shot, request.seed)
    if request.workers == 1:
        yield partial(map, draw)
        return
    with worker_pool(request.workers, request.workers, str(request.directory)) as pool:
        yield partial(_ahead, pool, partial(_render_chunk, draw), 3 * request.workers)


def _render_chunk(draw: Callable[[Shot], bytes], shots: Sequence[Shot]) -> list[bytes]:
    return [draw(shot) for shot in shots]


def _ahead(pool: Pool, work: Callable[[Sequence[Shot]], list[bytes]], ahead: int, shots: Iterable[Shot]) -> Contents:
    """Results in order with at most `ahead` chunks in memory, however slow the disk is."""
    rest = iter(shots)
    chunks = iter(lambda: list(islice(rest, CHUNK_SHOTS)), [])
    for contents in pool.map(work, chunks, ahead=ahead):
        yield from contents


def _counted(
    render: Callable[[Iterable[Shot]], Contents], progress: Callable[[int, int], None], total: int
) -> Callable[[Iterable[Shot]], Contents]:
    done = 0

    def counting(shots: Iterable[Shot]) -> Contents:
        nonlocal done
        for content in render(shots):
            done += 1
            progress(done, total)
            yield content

    return counting


def _write_archives(request: SampleRequest, plan: SamplePlan, render: Callable[[Iterable[Shot]], Contents]) -> None:
    directory, edition = request.directory, EDITIONS[request.edition]
    contents = render(plan.shots())  # one stream, in the order of the writes below
    with atomic_file(directory / edition.train) as file:
        size = 0
        for shots in plan.train:
            extra = [plan.dotfile] if shots is plan.train[0] else []
            size += _write_class_tar(file, shots[0].name[:9], [*shots, *extra], contents)
        end_tar(file, size)
    prefixes = {"val": "val/" if request.edition == "2010" else "", "test": "test/"}
    for split, shots in (("val", plan.val), ("test", plan.test)):
        with atomic_file(directory / edition.name_of(split)) as file:
            end_tar(file, _write_folder(file, prefixes[split], shots, contents))
    with atomic_file(directory / edition.devkit) as file:
        write_devkit(file, request.edition, plan.classes, plan.val_ids)
    if edition.test_truth:
        write_atomic(directory / edition.test_truth, ground_truth(plan.test_ids))
    if edition.patch:
        with atomic_file(directory / edition.patch) as file:
            size = file.write(directory_header("patch_images/"))
            for split, shots in plan.patches.items():
                size += _write_folder(file, f"patch_images/{split}/", shots, contents)
            end_tar(file, size)


def _write_class_tar(file: BinaryIO, wnid: str, shots: Sequence[Shot], contents: Contents) -> int:
    """Write nXXXXXXXX.tar as a member: its header is written last, when its size is known. Bytes written."""
    start = file.tell()
    placeholder = file.write(file_header(f"{wnid}.tar", 0))
    size = end_tar(file, _write_folder(file, "", shots, contents))
    file.seek(start)
    file.write(file_header(f"{wnid}.tar", size))
    file.seek(start + placeholder + size)
    return placeholder + size


def _write_folder(file: BinaryIO, prefix: str, shots: Sequence[Shot], contents: Contents) -> int:
    size = file.write(directory_header(prefix)) if prefix else 0
    return size + sum(
        write_member(file, prefix + shot.name, content)
        for shot, content in zip(shots, islice(contents, len(shots)), strict=True)
    )
