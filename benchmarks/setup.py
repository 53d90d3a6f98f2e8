"""What every part of the table is measured on: photos, shards, a folder to work in, cores and rounds."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from alexnet_shards.shardset import open_shards
from benchmarks.prep import export_photos
from benchmarks.stream import make_shards

COPIES = 2
PREP = [sys.executable, "-m", "alexnet_prep.cli"]


@dataclass(frozen=True, kw_only=True)
class Setup:
    """`data` holds official archives; `peers` False leaves out all but ours and the limits; `quick` takes few photos."""

    data: Path
    work: Path
    cpus: tuple[int, ...]
    rounds: int = 5
    quick: bool = False
    peers: bool = True

    @property
    def photos(self) -> Path:
        """A folder of the archives' plain RGB JPEGs as files, made at the first use, each under some names."""
        folder = self.work / "photos"
        if not folder.exists():
            once, new = self.work / "once", self.work / "photos.new"
            once.mkdir()
            new.mkdir()
            paths = export_photos(self.data, once)
            for path in paths[:16] if self.quick else paths:
                for copy in range(1 if self.quick else COPIES):
                    (new / f"{path.stem}-{copy}.JPEG").write_bytes(path.read_bytes())
            new.rename(folder)
        return folder

    def shards(self, name: str, shards: int, copies: int) -> tuple[Path, int]:
        """A folder of so many shards, each of all training photos so many times, and its number of samples."""
        folder = self.work / name / "shards"
        if not folder.exists():
            folder.parent.mkdir()
            make_shards(self.data, folder, shards, copies)
            words = ["index", "--shards", f"{folder}/train-*.tar", "--for", "dali", "--json"]
            subprocess.run([*PREP, *words], check=True, capture_output=True)
        return folder, open_shards([f"{folder}/train-*.tar"]).num_samples


def draw(folder: Path, quick: bool) -> Path:
    """The drawn sample, in official archives."""
    sizes = (
        ["--classes", "2", "--train-per-class", "40", "--val-per-class", "4", "--test-per-class", "2"] if quick else []
    )
    subprocess.run([*PREP, "sample", str(folder), *sizes], check=True, capture_output=True)
    return folder
