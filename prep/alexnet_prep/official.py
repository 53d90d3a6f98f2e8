"""What is known of the official sets: checksums of the archives, and how many odd files a complete split has."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from alexnet_prep.classes import shown_names
from alexnet_prep.errors import SourceError

# Published by the organisers; for the 2010 archives none is.
MD5 = {
    "ILSVRC2012_img_train.tar": "1d675b47d978889d74fa0da5fadfb00e",
    "ILSVRC2012_img_val.tar": "29b22e2961454d5413ddabcf34fc5622",
    "ILSVRC2012_img_test.tar": "fe64ceb247e473635708aed23ab6d839",
    "ILSVRC2012_img_test_v10102019.tar": "e1b8681fff3d63731c599df9b4b6fc02",
    "ILSVRC2012_devkit_t12.tar.gz": "fa75699e90414af021442c21a62c3abf",
}
CHUNK_BYTES = 16 << 20


@dataclass(frozen=True, kw_only=True)
class KnownSplit:
    """A complete official split: its number of images, and of those that are gzip, PNG, or have four components.

    From lists that their users published; the 2012 test set's were never listed (None).
    """

    members: int
    odd: Mapping[str, int] | None = field(default_factory=dict)


KNOWN = {
    ("2010", "train"): KnownSplit(members=1_261_406, odd={"gzip": 1, "png": 0, "four components": 13}),
    ("2010", "val"): KnownSplit(members=50_000, odd={"gzip": 0, "png": 0, "four components": 3}),
    ("2010", "test"): KnownSplit(members=150_000, odd={"gzip": 0, "png": 0, "four components": 2}),
    ("2012", "train"): KnownSplit(members=1_281_167, odd={"gzip": 0, "png": 1, "four components": 22}),
    ("2012", "val"): KnownSplit(members=50_000, odd={"gzip": 0, "png": 0, "four components": 1}),
    ("2012", "test"): KnownSplit(members=100_000, odd=None),
}


def known_differences(edition: str, split: str, members: int, converted: Mapping[str, int]) -> list[str]:
    """Lines for what differs from a complete official split; none for a split that is not of its size.

    `converted` counts the files of each kind (sniff.image_kinds).
    """
    known = KNOWN.get((edition, split))
    if known is None or members != known.members or known.odd is None:
        return []
    found = {
        "gzip": converted.get("gzip", 0),
        "png": converted.get("png", 0),
        "four components": converted.get("cmyk", 0) + converted.get("ycck", 0),
    }
    return [
        f"{split}: {found[kind]} files are {kind}, a complete ILSVRC-{edition} has {count}"
        for kind, count in known.odd.items()
        if found[kind] != count
    ]


def check_md5(paths: Mapping[str, Path], progress: Callable[[int, int], None]) -> list[str]:
    """Compare files with the published MD5 sums; a line a file that is equal, one for those without.

    `progress(done, total)` counts bytes. Raises SourceError for a file that differs.
    """
    lines, unknown = [], []
    total, done = sum(path.stat().st_size for path in paths.values() if path.name in MD5), 0
    for name, path in paths.items():
        expected = MD5.get(path.name)
        if expected is None:
            unknown.append(name)
            continue
        digest = hashlib.md5(usedforsecurity=False)
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                done += len(chunk)
                progress(done, total)
        if digest.hexdigest() != expected:
            raise SourceError(f"{path}: MD5 {digest.hexdigest()}, expected the published {expected}; fetch it again")
        lines.append(f"{name}: MD5 as published")
    return [*lines, f"{shown_names(unknown)}: no MD5 sum was published"] if unknown else lines
