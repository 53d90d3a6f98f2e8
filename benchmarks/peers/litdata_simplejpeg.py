"""litdata: the same JPEG bytes in its chunks, simplejpeg, uint8 crops; WORKERS workers."""

import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import litdata
import simplejpeg
from common import BATCH_SIZE, WORKERS, random_crop, run


class Crops(litdata.StreamingDataset):  # type: ignore[misc]
    def __getitem__(self, index: Any) -> dict[str, Any]:
        sample = super().__getitem__(index)
        image, top, left = random_crop(simplejpeg.decode_jpeg(sample["jpg"], "RGB"))
        return {"images": image, "labels": sample["cls"], "keys": sample["key"], "tops": top, "lefts": left}


def samples(path: str) -> Iterator[dict[str, Any]]:
    with tarfile.open(path) as archive:
        files = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    for name, jpeg in files.items():
        key, _, suffix = name.rpartition(".")
        if suffix == "jpg":
            yield {"jpg": jpeg, "cls": int(files[f"{key}.cls"]), "key": key}


def convert(folder: Path) -> Path:
    out = folder / "litdata"
    if not out.exists():
        paths = [str(path) for path in sorted(folder.glob("train-*.tar"))]
        litdata.optimize(fn=samples, inputs=paths, output_dir=str(out), chunk_bytes="64MB", num_workers=1)
    return out


def make_loader(folder: Path) -> Any:
    dataset = Crops(str(convert(folder)), shuffle=True)
    return litdata.StreamingDataLoader(dataset, batch_size=BATCH_SIZE, num_workers=WORKERS, persistent_workers=True)


def batches(folder: Path, epochs: int) -> Iterator[dict[str, Any]]:
    loader = make_loader(folder)
    for _ in range(epochs):
        yield from loader


def resumed(folder: Path, taken: int) -> Callable[[], Iterator[dict[str, Any]]]:
    loader = make_loader(folder)
    for _ in zip(range(taken), loader, strict=False):
        state = loader.state_dict()

    def go_on() -> Iterator[dict[str, Any]]:
        fresh = make_loader(folder)
        fresh.load_state_dict(state)
        return iter(fresh)

    return go_on


if __name__ == "__main__":
    run(batches, resumed)
