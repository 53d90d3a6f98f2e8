"""Links in a tar lead where they would lead once it is extracted."""

import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import alexnet_shards.tarlinks
from alexnet_shards.errors import FormatError
from alexnet_shards.tar import walk_tar
from alexnet_shards.tarlinks import Link, LinkResolver


def resolve(links: list[tuple[str, str, bool]], members: list[str]) -> list[str | None]:
    """Where each link leads, by the members' names."""
    resolver = LinkResolver()
    for name, target, is_hard in links:
        resolver.add(Link(name, target, is_hard, 0), "x.tar")
    return [member for _, member in resolver.find((name, name) for name in members)]


@pytest.mark.parametrize(
    ("name", "target", "is_hard", "end"),
    [
        ("d/b.jpg", "a.jpg", False, "d/a.jpg"),
        ("d/b.jpg", "../a.jpg", False, "a.jpg"),
        ("d/b.jpg", "./../d/./a.jpg", False, "d/a.jpg"),
        ("./b.jpg", "a.jpg", False, "a.jpg"),
        ("d/b.jpg", "a.jpg", True, "a.jpg"),
        ("d/b.jpg", "./d/a.jpg", True, "d/a.jpg"),
        ("b.jpg", "gone.jpg", True, None),
        ("b.jpg", "../a.jpg", False, None),
        ("b.jpg", "b.jpg", False, None),
        ("b.jpg", "", False, None),
    ],
)
def test_one_link(name: str, target: str, is_hard: bool, end: str | None) -> None:
    assert resolve([(name, target, is_hard)], ["a.jpg", "d/a.jpg"]) == [end]


def test_links_to_links_and_through_folders() -> None:
    links = [
        ("l1", "l2", False),
        ("l2", "d", False),
        ("x.jpg", "l1/a.jpg", False),
        ("o", "p", False),
        ("p", "o", False),
    ]
    assert resolve(links, ["d", "d/a.jpg"]) == ["d", "d", "d/a.jpg", None, None]


def test_a_file_that_was_named_twice_is_a_hard_link_to_itself() -> None:
    assert resolve([("a.jpg", "a.jpg", True)], ["a.jpg"]) == ["a.jpg"]


def test_too_many_links(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alexnet_shards.tarlinks, "MAX_LINKS", 2)
    with pytest.raises(FormatError, match=r"x\.tar: over 2 links"):
        resolve([(str(number), "a", False) for number in range(3)], [])


def test_deep_names_end() -> None:
    deep = "d/" * 2000 + "a"
    assert resolve([(f"{deep}{number}", deep, False) for number in range(200)], ["a"]) == [None] * 200


SPOTS = ["a", "b", "c", "d/a", "d/b", "d/e/a"]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_gnu_tars_own_links_read_as_the_files_do(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Files and links made at random, archived by GNU tar: each link has the content that the file system gives."""
    root = tmp_path_factory.mktemp("links")
    (root / "d" / "e").mkdir(parents=True)
    (root / "a").write_text("content of a")
    (root / "d" / "a").write_text("content of d/a")
    for spot in data.draw(st.permutations(SPOTS[1:])):
        path = root / spot
        if not path.exists() and not path.is_symlink():
            target = data.draw(st.sampled_from(["a", "../a", "b", "../b", "../../d/b", "e/a", "../c", "gone", "d/a"]))
            path.symlink_to(target)
    hard = root / "hard"
    hard.hardlink_to(root / "a")
    archive = root.parent / f"{root.name}.tar"
    subprocess.run(["tar", "-cf", archive, "-C", root, "a", "b", "c", "d", "hard"], check=True)
    content = archive.read_bytes()
    links = set()
    for member in walk_tar(lambda offset, size: content[offset : offset + size], 0, len(content), "x.tar"):
        path = root / member.name
        if member.link:
            links.add(member.name)
            assert member.is_file == path.is_file()
        if member.is_file:
            assert content[member.offset : member.offset + member.size] == path.read_bytes()
    with tarfile.open(archive) as reference:
        assert links == {info.name for info in reference if info.issym() or info.islnk()}


def test_a_link_to_a_folder(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    subprocess.run(["tar", "-cf", "x.tar", "folder", "link"], check=True, cwd=tmp_path)
    content = (tmp_path / "x.tar").read_bytes()
    found = walk_tar(lambda offset, size: content[offset : offset + size], 0, len(content), "x.tar")
    assert [(member.name, member.kind) for member in found] == [("folder/", "folder"), ("link", "link to a folder")]
