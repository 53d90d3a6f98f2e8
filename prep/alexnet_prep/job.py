"""Jobs, which a run is cut into: each a pure function of itself and the setup, with a result that says it is done."""

from collections.abc import Callable, Iterable, Mapping, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, Self, TypeVar

from alexnet_pixels import Converted, PixelRecipe
from alexnet_prep.archive import Sparse
from alexnet_prep.outstore import OutputStore
from alexnet_prep.reader import SourceReader

NO_IMAGE = -1
READING, AT_IMAGE, AT_OUTPUT = "reading", "at image", "at output"  # what a worker is at
MAX_MEMBER_BYTES = 512 << 20
STAGES = ("read", "decode", "resize", "encode", "write")


@dataclass(frozen=True, kw_only=True)
class BuildSetup:
    """What every job of a run shares: the source's files, the pixel recipe, and where shards and sidecars go.

    A source image of over `max_member_bytes` is not read; `sparse` places those that an archive stores with holes,
    `image_column` those of parquet files. With `moments` every shard has its sums for the statistics beside its sidecar.
    With a `store` shards are uploaded there and removed here. `plan` names the plan that the run is bound to.
    """

    containers: tuple[Path, ...]
    recipe: PixelRecipe
    out: Path
    sidecars: Path
    max_member_bytes: int = MAX_MEMBER_BYTES
    sparse: Sparse = field(default_factory=dict)
    moments: bool = False
    image_column: str = ""
    store: OutputStore | None = None
    plan: str = ""


@dataclass(kw_only=True)
class Seconds:
    """Wall seconds a stage of one job; of the job in all wall seconds, and those of its process's computing."""

    stages: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    wall_s: float = 0.0
    cpu_s: float = 0.0

    def add(self, converted: Converted) -> None:
        """Count the stages that `convert` timed."""
        self.stages["decode"] += converted.decode_s
        self.stages["resize"] += converted.resize_s
        self.stages["encode"] += converted.encode_s


# Told what a worker is at (READING, AT_IMAGE, AT_OUTPUT), at which position, and how many source bytes it has read there.
OnSign = Callable[[str, int, int], None]


class Result(Protocol):
    """What became of a job: `dropped` are the images of it that there are not."""

    @property
    def name(self) -> str:
        """The job's."""

    @property
    def dropped(self) -> Sized:
        """An entry an image."""


R = TypeVar("R", bound=Result, covariant=True)


class Job(Protocol[R]):
    """One piece of work: a frozen dataclass that can be pickled, run by any process of any machine, any number of times.

    A position is one image of it, >= 0; `quarantined` are those given up for workers that were lost at them, with the
    reason.
    """

    @property
    def name(self) -> str:
        """What it makes, for messages; no two jobs of a run have one name."""

    @property
    def images(self) -> int:
        """How many images the count of the run grows by when it is done."""

    @property
    def quarantined(self) -> Mapping[int, str]:
        """Reasons by position."""

    def key(self, position: int) -> str:
        """What the image at a position is called in messages."""

    def without(self, position: int, reason: str) -> Self:
        """The same with one position more in quarantine."""

    def finished(self, setup: BuildSetup, on_sign: Callable[[str, int, int], None]) -> R | None:
        """Its result where all that it makes is there already; None where it has to be run."""

    def run(self, setup: BuildSetup, reader: SourceReader, on_sign: OnSign) -> tuple[R, Seconds]:
        """Do it; `on_sign` comes before each image is read, before it is decoded, and before anything is written.

        Raises AlexnetError or OSError where it cannot be done.
        """


J = TypeVar("J")


class Supply(Generic[J]):
    """Jobs that are taken one by one, as whoever is free asks for one; a None among them says that none is ready by now."""

    def __init__(self, jobs: Iterable[J | None]) -> None:
        self._jobs = iter(jobs)
        self.has_more = True

    def take(self) -> J | None:
        """The next job; None where none is ready, or where all are taken, which `has_more` tells from then on."""
        if self.has_more:
            try:
                return next(self._jobs)
            except StopIteration:
                self.has_more = False
        return None
