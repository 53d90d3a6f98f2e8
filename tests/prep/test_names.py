"""Names are no longer than a file system allows, and distinct where they were."""

import random

from alexnet_prep.names import shortened, shortened_key


def test_short_names_stay() -> None:
    assert shortened(b"n01440764_10026.JPEG") == b"n01440764_10026.JPEG"
    assert shortened(b"x" * 255) == b"x" * 255
    assert shortened_key(b"x" * 251) == b"x" * 251


def test_long_ones_keep_their_beginning_and_their_suffix() -> None:
    name = shortened(b"x" * 300 + b".jpeg")
    assert len(name) == 255
    assert name[:100] == b"x" * 100
    assert name.endswith(b".jpeg")
    assert name == shortened(b"x" * 300 + b".jpeg")
    assert name != shortened(b"x" * 301 + b".jpeg")
    assert len(shortened(b"." * 400)) == 255
    assert len(shortened(b"a." + b"x" * 400)) == 255


def test_no_character_is_cut() -> None:
    rng = random.Random(0)
    for _ in range(300):
        text = "".join(rng.choice("aéü漢😀.") for _ in range(rng.randint(60, 400)))
        name = shortened_key(text.encode())
        assert len(name) <= 251
        name.decode()
