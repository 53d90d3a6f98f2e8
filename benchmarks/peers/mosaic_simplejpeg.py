"""mosaicml-streaming: the same JPEG bytes in its MDS format, simplejpeg, uint8 crops; WORKERS workers."""

import sys
import tarfile
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import simplejpeg
from common import BATCH_SIZE, WORKERS, random_crop, run


class Absent(ModuleType):
    """torchvision, which the package imports for data sets that are not used here; its wheels need a CUDA torch."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


for module in ("torchvision", "torchvision.datasets", "torchvision.transforms", "torchvision.transforms.functional"):
    sys.modules[module] = Absent(module)
    sys.modules[module].__spec__ = ModuleSpec(module, None)
from streaming import MDSWriter, StreamingDataLoader, StreamingDataset  # noqa: E402


class Crops(StreamingDataset):  # type: ignore[misc]
    def __getitem__(self, at: int) -> dict[str, Any]:
        sample = super().__getitem__(at)
        image, top, left = random_crop(simplejpeg.decode_jpeg(sample["jpg"], "RGB"))
        return {"images": image, "labels": sample["cls"], "keys": sample["key"], "tops": top, "lefts": left}


def convert(folder: Path) -> Path:
    out = folder / "mosaic"
    if not out.exists():
        with MDSWriter(out=str(out), columns={"jpg": "bytes", "cls": "int", "key": "str"}) as writer:
            for path in sorted(folder.glob("train-*.tar")):
                with tarfile.open(path) as archive:
                    files = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
                for name, jpeg in files.items():
                    key, _, suffix = name.rpartition(".")
                    if suffix == "jpg":
                        writer.write({"jpg": jpeg, "cls": int(files[f"{key}.cls"]), "key": key})
    return out


def make_loader(folder: Path) -> Any:
    dataset = Crops(local=str(convert(folder)), shuffle=True, batch_size=BATCH_SIZE)
    return StreamingDataLoader(dataset, batch_size=BATCH_SIZE, num_workers=WORKERS, persistent_workers=True)


def batches(folder: Path, epochs: int) -> Iterator[dict[str, Any]]:
    loader = make_loader(folder)
    for _ in range(epochs):
        yield from loader


def resumed(folder: Path, taken: int) -> Callable[[], Iterator[dict[str, Any]]]:
    loader = make_loader(folder)
    for _ in zip(range(taken), loader, strict=False):
        state = loader.state_dict()
    del loader

    def go_on() -> Iterator[dict[str, Any]]:
        fresh = make_loader(folder)
        fresh.load_state_dict(state)
        return iter(fresh)

    return go_on


if __name__ == "__main__":
    run(batches, resumed)
