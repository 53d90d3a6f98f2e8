"""Imports run alexnet_prep -> alexnet_shards <- alexnet_train, and nowhere else; files and functions stay small."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = {
    "alexnet_prep": ROOT / "prep" / "alexnet_prep",
    "alexnet_shards": ROOT / "shards" / "alexnet_shards",
    "alexnet_train": ROOT / "train" / "alexnet_train",
}
ALLOWED_ROOMS = {
    "alexnet_prep": {"alexnet_prep", "alexnet_shards"},
    "alexnet_shards": {"alexnet_shards"},
    "alexnet_train": {"alexnet_train", "alexnet_shards"},
}
MAX_FILE_LINES = 320
MAX_FUNCTION_LINES = 50
MODULES = [path for room in ROOMS.values() for path in sorted(room.glob("*.py"))]


def imported_packages(path: Path) -> set[str]:
    """Top-level names of every import in `path`, however deep in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_imports_keep_their_direction(path: Path) -> None:
    imported = imported_packages(path)
    assert imported & ROOMS.keys() <= ALLOWED_ROOMS[path.parent.name]
    if path.parent.name != "alexnet_train":
        assert "torch" not in imported
    if path.parent.name == "alexnet_shards":
        assert not imported & {"PIL", "click", "rich", "scipy", "simplejpeg", "webdataset"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_files_and_functions_stay_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_FILE_LINES
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= MAX_FUNCTION_LINES, f"{path}:{node.lineno} {node.name} has {lines} lines"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_assert_for_input(path: Path) -> None:
    found = [node.lineno for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Assert)]
    assert not found


def test_every_module_has_its_tests() -> None:
    for room, folder in ROOMS.items():
        kind = room.removeprefix("alexnet_")
        missing = [
            path.name
            for path in sorted(folder.glob("*.py"))
            if path.name not in {"__init__.py", "__main__.py", "errors.py"}
            and not (ROOT / "tests" / kind / f"test_{path.name}").exists()
        ]
        assert not missing, f"{room}: no test for {missing}"


def test_no_subpackages_that_a_wheel_would_miss() -> None:
    for folder in ROOMS.values():
        assert not list(folder.glob("*/__init__.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_readme_has_a_line_for_every_file(path: Path) -> None:
    if path.name != "__init__.py":
        assert f"| `{path.name}` |" in (ROOT / "README.md").read_text()
