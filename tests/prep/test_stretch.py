"""A stretch's files: found whole, or made again, whatever rotted."""

from pathlib import Path

import pytest

from alexnet_pixels.recipe import PixelRecipe
from alexnet_prep.job import BuildSetup
from alexnet_prep.stretch import (
    SourceImage,
    facts_path,
    finished_stretch,
    identity_of,
    load_checked,
    pictures_path,
    save_checked,
    write_stretch,
)
from alexnet_shards.errors import FormatError


@pytest.fixture
def setup(tmp_path: Path) -> BuildSetup:
    """A run that takes images of up to 1 MiB."""
    return BuildSetup(containers=(), recipe=PixelRecipe(), out=tmp_path, sidecars=tmp_path, max_member_bytes=1 << 20)


def test_books_of_a_stretch(setup: BuildSetup, photo_bytes: object) -> None:
    assert callable(photo_bytes)
    contents = [photo_bytes(1), b"no image at all", photo_bytes(2) + bytes(2 << 20), photo_bytes(3)]
    images = [
        SourceImage(position=n, image=10 * n, size=len(each), load=lambda each=each: each)  # type: ignore[misc]
        for n, each in enumerate(contents)
    ]
    known = {"number": 3, "container": 0, "start": 0, "identity": "me", "is_noted": False}
    facts, seconds = write_stretch(setup, iter(images), {3: "why"}, lambda *_: None, **known)
    assert seconds.stages["decode"] > 0
    rows = facts.images()
    assert rows["image"].tolist() == [0, 10, 20, 30]
    assert [length > 0 for length in rows["length"]] == [True, False, False, False]
    assert [number for number, _ in facts.reasons] == [1, 2, 3]
    assert "over the limit of 1 MiB" in facts.reasons[1][1]
    assert facts.given_up == [3]
    assert all(any(digest.tobytes()) for digest in rows["digest"])
    assert pictures_path(setup, "stretch-00003").stat().st_size == facts.bytes
    assert finished_stretch(setup, "stretch-00003", "me") is None  # one was given up
    facts, _ = write_stretch(setup, iter(images), {}, lambda *_: None, **known)
    assert finished_stretch(setup, "stretch-00003", "me") == facts
    assert finished_stretch(setup, "stretch-00003", "somebody else") is None
    path = pictures_path(setup, "stretch-00003")
    path.write_bytes(path.read_bytes()[:-1])
    assert finished_stretch(setup, "stretch-00003", "me") is None


def test_facts_have_a_checksum(setup: BuildSetup) -> None:
    path = facts_path(setup, "x")
    save_checked(path, {"a": [1, 2]})
    assert load_checked(path, "facts") == {"a": [1, 2]}
    path.write_text(path.read_text().replace("2", "3", 1))
    with pytest.raises(FormatError, match="damaged facts"):
        load_checked(path, "facts")


def test_identity_changes_with_what_bytes_depend_on(setup: BuildSetup) -> None:
    assert identity_of(setup, 1) != identity_of(setup, 2)
    assert identity_of(setup, 1) == identity_of(setup, 1)
