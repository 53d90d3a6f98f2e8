"""The key of every sample, by one rule: as short as the names allow, and never shared by two images.

A key of over 251 bytes, whose KEY.jpg no file system would hold, is cut and ends in 8 digits of the SHA-256 of the whole.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from alexnet_prep.archive import Members, Names
from alexnet_prep.errors import SourceError
from alexnet_prep.names import MARK_DIGITS, shortened_key

Rule = Callable[[bytes, bytes], bytes]


def stems(names: Names) -> Names:
    """(N,) base names without their last suffix; dots left become `_`, since a sample's key ends at its first dot."""
    return np.array([_stem(bytes(name)) for name in names], dtype=np.bytes_)


def folder_keys(members: Members) -> Names:
    """(N,) distinct keys for images in class folders, whose names are paths below their class.

    The stem where all stems of the split are distinct; else CLASS_STEM for all. Images that still share a key are called
    CLASS_PATH_ENDING (a/x.jpg and a/x.png of class c: c_a_x_jpg, c_a_x_png), and those that share even that (a.b.jpg and
    a_b.jpg) have 8 digits of the SHA-256 of CLASS/PATH at the end. A key depends on what it collides with, not on order.
    """
    keys = stems(members.names)
    if _are_distinct(keys):
        return keys
    groups = [members.groups[group].encode("utf-8", "surrogateescape") for group in members.locations["group"]]
    found = [_flat(group) + b"_" + bytes(key) for group, key in zip(groups, keys, strict=True)]
    names = [bytes(name) for name in members.names]
    for rule in (_path_key, _marked_key):
        shared = {key for key, count in Counter(found).items() if count > 1}
        if shared:
            rows = zip(found, groups, names, strict=True)
            found = [rule(group, name) if key in shared else key for key, group, name in rows]
    return np.array([shortened_key(key) for key in found], dtype=np.bytes_)


def archive_keys(members: Members, places: Callable[[int], str]) -> tuple[Names, int]:
    """(N,) keys by the rule of `folder_keys` for samples of several files, and how many have class and name of another;
    `places` says where image n lies.

    Names of one class that stand in two files, which that rule alone cannot tell apart, get their place in front.
    """
    keys = folder_keys(members)
    shared = len(keys) - len(np.unique(keys))
    if not shared:
        return keys, 0
    names = [
        places(row).encode("utf-8", "surrogateescape") + b"/" + bytes(name) for row, name in enumerate(members.names)
    ]
    return folder_keys(replace(members, names=np.array(names, dtype=np.bytes_))), shared


def check_distinct(keys: Names, files: Sequence[str] | Callable[[int], str]) -> None:
    """Raise SourceError where two of the sorted `keys` are one, with both names (`files` gives row n's) and what to do."""
    twice = np.flatnonzero(keys[1:] == keys[:-1])
    if len(twice):
        name_of = files if callable(files) else files.__getitem__
        first, second = name_of(int(twice[0])), name_of(int(twice[0]) + 1)
        key = bytes(keys[twice[0]]).decode("utf-8", "surrogateescape")
        raise SourceError(
            f"{first} and {second} would both be sample {key} ({len(twice)} image names stand twice); expected every "
            "name once: rename or remove one of the two"
        )


def _are_distinct(keys: Names) -> bool:
    return len(np.unique(keys)) == len(keys)


def _stem(name: bytes) -> bytes:
    base = name.rpartition(b"/")[2]
    head, dot, tail = base.rpartition(b".")
    return shortened_key(_flat(head if dot else tail))


def _path_key(group: bytes, name: bytes) -> bytes:
    return _flat(group + b"/" + name)


def _marked_key(group: bytes, name: bytes) -> bytes:
    mark = hashlib.sha256(group + b"/" + name).hexdigest()[:MARK_DIGITS].encode()
    return _path_key(group, name) + b"_" + mark


def _flat(path: bytes) -> bytes:
    return path.replace(b".", b"_").replace(b"/", b"_").replace(b"\0", b"_")
