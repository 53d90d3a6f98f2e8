"""Which way a split's source is read, in place or once, and what that needs: said before the work begins."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alexnet_command.units import size_text
from alexnet_prep.errors import SourceError
from alexnet_prep.forward import PIECE_BYTES, ArchiveFacts, ForwardReader, is_streamed, opened_forward
from alexnet_prep.part import PART_BYTES
from alexnet_prep.rundir import expected_bytes
from alexnet_shards.tarblocks import files_between

IN_PLACE, ONCE, AUTO = "in-place", "once", "auto"
IN_PLACE_UNLESS = "in-place unless"  # it can only be read forward
# One more of all that is there is a pass over it: reading a tenth of the images where they lie takes no longer than that.
WORTH_A_PASS = 10
# Python, its libraries, one image that is decoded, and what is read ahead.
WORKER_BYTES = 200 << 20
SAMPLED_BYTES = 2 << 20
SAMPLED_ARCHIVES = 8
NETWORK_FILE_SYSTEMS = frozenset(
    [
        *(
            "nfs",
            "nfs4",
            "cifs",
            "smb3",
            "smbfs",
            "9p",
            "lustre",
            "ceph",
            "beegfs",
            "gpfs",
            "afs",
            "glusterfs",
            "orangefs",
        ),
        *("pvfs2", "gfs2", "ocfs2", "ncpfs", "davfs", "virtiofs"),
    ]
)
VIRTUAL_DISKS = ("vd", "xvd", "loop", "zram", "ram")
VIRTUAL_VENDORS = ("QEMU", "VMware", "VMware,", "Msft", "Google", "VBOX", "Xen", "Amazon")


@dataclass(frozen=True)
class Reading:
    """How a split is read, and why."""

    is_once: bool
    why: str


def choose_reading(asked: str, paths: Sequence[Path], to_make: float, known: str = "") -> Reading:
    """The way that was `asked` for ("in-place", "once"), or for "auto" the one that the disks of `paths` are made for.

    `to_make` is the share of the split that is not there yet; `known` why the source itself is slow to read in place.
    """
    forward = next((path for path in paths if path.is_file() and is_streamed(path)), None)
    if forward is not None and asked == IN_PLACE:
        raise SourceError(f"{forward}: is compressed or elsewhere, and can only be read forward: use --read once")
    if forward is not None:
        return Reading(True, f"{forward.name} is compressed or elsewhere")
    if asked == IN_PLACE_UNLESS:
        return Reading(False, "as parts are without --read once")
    if asked != AUTO:
        return Reading(asked == ONCE, "as --read says")
    slow = known or next((why for path in paths if (why := slow_to_seek(path))), "")
    if not slow:
        return Reading(False, "its disk seeks in no time")
    if to_make * WORTH_A_PASS < 1:
        return Reading(False, "little is missing")
    return Reading(True, slow)


def slow_to_seek(path: Path) -> str:
    """Why reading here and there in `path` is slow: a rotational disk or a network file system; "" where it is not."""
    try:
        device = path.stat().st_dev
    except OSError:
        return ""
    kind, origin = mounted_at(device)
    if kind in NETWORK_FILE_SYSTEMS or (kind.startswith("fuse.") and kind != "fuse.portal"):
        return f"{path} is on a network file system ({kind})"
    if os.major(device) == 0 and origin.startswith("/dev/"):  # btrfs and others have devices of their own
        try:
            device = Path(origin).stat().st_rdev
        except OSError:
            return ""
    return f"{path} is on a rotational disk" if is_rotational(device) else ""


def mounted_at(device: int, table: Path = Path("/proc/self/mountinfo")) -> tuple[str, str]:
    """(kind, origin) of the file system with this device number, ("", "") where the system does not say."""
    name = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = table.read_text("utf-8", "replace").splitlines()
    except OSError:
        return "", ""
    for line in lines:
        place, _, origin = line.partition(" - ")
        if place.split()[2:3] == [name]:
            kind, source, *_ = [*origin.split(), "", ""]
            return kind, source
    return "", ""


def is_rotational(device: int, devices: Path = Path("/sys/dev/block")) -> bool:
    """Whether a block device is a disk that turns; a partition is as its disk. Virtual disks always say so: no."""
    folder = (devices / f"{os.major(device)}:{os.minor(device)}").resolve()
    disk = folder if (folder / "queue").is_dir() else folder.parent
    if disk.name.startswith(VIRTUAL_DISKS) or _text(disk / "device" / "vendor") in VIRTUAL_VENDORS:
        return False
    return _text(disk / "queue" / "rotational") == "1"


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def expected_of_archives(archives: Sequence[Path], facts: Sequence[ArchiveFacts]) -> int:
    """About how many bytes the pictures of these tars' images have, by the files in the first megabytes of some of them."""
    chosen = range(0, len(archives), -(-len(archives) // SAMPLED_ARCHIVES))
    stored = sum(facts[number].stored_bytes for number in chosen)
    found = sum(_expected_of(archives[number], facts[number].stored_bytes) for number in chosen)
    return int(found * (sum(each.stored_bytes for each in facts) / max(1, stored)))


def _expected_of(path: Path, stored: int) -> int:
    with opened_forward(path) as file:
        end = min(SAMPLED_BYTES, stored) or SAMPLED_BYTES
        forward = ForwardReader(file.read_at, end)
        found = [each for each in files_between(forward.read_at, 0, end, lambda *_: None) if each.offset < end]
    if not found:
        return 0
    covered = max(1, found[-1].offset + found[-1].size)
    return int(expected_bytes(np.array([each.size for each in found])) * max(1.0, stored / covered))


def reading_line(split: str, reading: Reading, picture_bytes: int) -> str:
    """What is said of a split before the work: the choice, the disk and the memory that it needs."""
    if not reading.is_once:
        return f"{split}: read in place ({reading.why})"
    memory = size_text(PART_BYTES + WORKER_BYTES + 2 * PIECE_BYTES)
    disk = f"about {size_text(2 * picture_bytes)} of disk" if picture_bytes else "the disk of the shards twice"
    disk += ", half of it until the split is whole"
    return f"{split}: read once, in its own order ({reading.why}): {disk}, up to {memory} of memory a worker"
