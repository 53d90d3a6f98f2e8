"""Walking folders: links, loops, special files, names of any bytes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from alexnet_prep.errors import SourceError
from alexnet_prep.tree import list_folder, walk_tree


def kinds_below(root: Path) -> dict[str, str]:
    """Kind by path."""
    return {entry.path: entry.kind for entry in walk_tree(root)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with everything that may lie in one."""
    root = tmp_path / "root"
    (root / "deep" / "er").mkdir(parents=True)
    (root / "deep" / "er" / "a.jpg").write_bytes(b"12345")
    (root / "link.jpg").symlink_to("deep/er/a.jpg")
    (root / "nowhere.jpg").symlink_to("gone.jpg")
    (root / "circle").symlink_to("circle")
    (root / "deep" / "up").symlink_to("..")
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "b.jpg").write_bytes(b"")
    (root / "beside").symlink_to("../beside")
    os.mkfifo(root / "pipe")
    return root


def test_every_entry_has_its_kind(folder: Path) -> None:
    assert kinds_below(folder) == {
        "beside": "directory",
        "beside/b.jpg": "file",
        "circle": "link that leads nowhere",
        "deep": "directory",
        "deep/er": "directory",
        "deep/er/a.jpg": "file",
        "deep/up": "link back to a folder above it",
        "link.jpg": "file",
        "nowhere.jpg": "link that leads nowhere",
        "pipe": "device, pipe or socket",
    }
    assert {entry.path: entry.size for entry in walk_tree(folder)}["link.jpg"] == 5
    assert (
        len(kinds_below(folder))
        == len(subprocess.run(["find", folder, "-mindepth", "1"], capture_output=True, check=True).stdout.split()) + 1
    )
    assert sorted(entry.path for entry in list_folder(folder)) == sorted(os.listdir(folder))  # noqa: PTH208


def test_hundreds_of_folders_deep(tmp_path: Path) -> None:
    path = tmp_path
    for _ in range(300):
        path = path / "d"
    path.mkdir(parents=True)
    assert len(kinds_below(tmp_path)) == 300


def test_names_are_the_same_in_every_locale(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/caf\xe9.jpg", "wb"), open(os.fsencode(tmp_path) + "/é.jpg".encode(), "wb"):  # noqa: PTH123
        pass
    script = (
        "import sys; from pathlib import Path; from alexnet_prep.tree import walk_tree;"
        "print(ascii([entry.path for entry in walk_tree(Path(sys.argv[1]))]))"
    )
    for environment in ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"LC_ALL": "C.UTF-8"}):
        found = subprocess.run(
            [sys.executable, "-c", script, tmp_path], env={**os.environ, **environment}, capture_output=True, check=True
        )
        assert found.stdout.decode().strip() == ascii(["caf\udce9.jpg", "é.jpg"])


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="none: cannot be read"):
        list(walk_tree(tmp_path / "none"))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SourceError, match=r"file: cannot be read \(Not a directory\)"):
        list(list_folder(tmp_path / "file"))
