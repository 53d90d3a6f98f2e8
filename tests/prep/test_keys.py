"""Keys: distinct by one rule that depends on names alone."""

import random

import numpy as np
import pytest

from alexnet_prep.archive import LOCATION_DTYPE, Members
from alexnet_prep.errors import SourceError
from alexnet_prep.keys import archive_keys, check_distinct, folder_keys, stems


def keys_of(*paths: str) -> list[str]:
    """Keys of images at CLASS/PATH."""
    parts = [path.partition("/") for path in paths]
    groups = tuple(dict.fromkeys(group for group, _, _ in parts))
    rows = np.array([(0, groups.index(group), 0, 1) for group, _, _ in parts], LOCATION_DTYPE)
    members = Members(names=np.array([name.encode() for _, _, name in parts]), locations=rows, groups=groups)
    return [bytes(key).decode() for key in folder_keys(members)]


def test_stems_of_paths() -> None:
    names = np.array([b"n01440764_10026.JPEG", b"a.b.jpg", b"plain", b"images/deep/x.png"])
    assert stems(names).tolist() == [b"n01440764_10026", b"a_b", b"plain", b"x"]


def test_as_short_as_the_names_allow() -> None:
    assert keys_of("cat/a.jpg", "dog/images/b.jpg") == ["a", "b"]
    assert keys_of("cat/0.jpg", "dog/0.jpg", "dog/1.jpg") == ["cat_0", "dog_0", "dog_1"]


def test_what_still_collides_is_told_apart() -> None:
    assert keys_of("cat/a.jpg", "cat/a.png", "cat/b.jpg") == ["cat_a_jpg", "cat_a_png", "cat_b"]
    assert keys_of("cat/a.jpg", "cat/more/a.jpg") == ["cat_a_jpg", "cat_more_a_jpg"]
    dots = keys_of("cat/a.b.jpg", "cat/a_b.jpg", "cat/c.jpg")
    assert dots[2] == "cat_c"
    assert dots[0] != dots[1]
    assert all(key.startswith("cat_a_b_jpg_") and len(key) == len("cat_a_b_jpg_") + 8 for key in dots[:2])
    assert keys_of("a/b_c.jpg", "a_b/c.jpg", "a/c.jpg")[2] == "a_c"
    assert len(set(keys_of("a/b_c.jpg", "a_b/c.jpg", "a/c.jpg"))) == 3


def test_no_two_images_share_a_key_and_order_plays_no_part() -> None:
    rng = random.Random(1)
    for _ in range(200):
        classes = ["".join(rng.choice("ab_") for _ in range(2)) for _ in range(60)]
        paths = {f"{name}/{''.join(rng.choice('ab._/') for _ in range(4)).strip('/')}x.jpg" for name in classes}
        ordered = sorted(paths)
        keys = dict(zip(ordered, keys_of(*ordered), strict=True))
        assert len(set(keys.values())) == len(keys)
        assert all("." not in key and "/" not in key for key in keys.values())
        shuffled = rng.sample(ordered, len(ordered))
        assert dict(zip(shuffled, keys_of(*shuffled), strict=True)) == keys


def test_both_files_are_named() -> None:
    check_distinct(np.array([b"a", b"b"]), ["x/a.jpg", "x/b.jpg"])
    with pytest.raises(SourceError, match=r"x/a.jpg and y/a.jpg would both be sample a .*rename or remove"):
        check_distinct(np.array([b"a", b"a"]), ["x/a.jpg", "y/a.jpg"])


def test_a_key_is_a_name_that_a_file_system_holds() -> None:
    long = [f"{letter}/{'x' * length}.jpg" for letter in "ab" for length in (251, 252, 400)]
    keys = keys_of(*long)
    assert len(set(keys)) == 6
    assert all(len(key) + len(".jpg") <= 255 for key in keys)
    assert keys_of("a/" + "x" * 251 + ".jpg", "a/y.jpg")[0] == "x" * 251
    stem = bytes(stems(np.array([b"x" * 252 + b".JPEG"]))[0]).decode()
    assert stem == keys_of("a/" + "x" * 252 + ".JPEG", "a/y.jpg")[0]
    assert stem[:242] == "x" * 242
    assert len(stem) == 251


def test_names_that_stand_in_two_files_have_their_file() -> None:
    rows = np.array([(0, 0, 0, 1), (1, 0, 0, 1), (1, 0, 9, 1)], LOCATION_DTYPE)
    members = Members(names=np.array([b"0.jpg", b"0.jpg", b"1.jpg"]), locations=rows, groups=("cat",))
    keys, shared = archive_keys(members, lambda row: ("t-0", "t-1", "t-1")[row])
    assert shared == 1
    assert keys.tolist() == [b"cat_t-0_0_jpg", b"cat_t-1_0_jpg", b"cat_1"]
