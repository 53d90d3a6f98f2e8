"""The rooms: which may import which, through which face; files and functions stay small."""

import ast
import configparser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = {
    path.parent.name: path.parent
    for folder in ("shards", "prep", "train")
    for path in sorted((ROOT / folder).glob("*/__init__.py"))
}
# Arrows point down only; a room may also import itself.
ALLOWED_ROOMS = {
    "alexnet_shards": set(),
    "alexnet_pixels": {"alexnet_shards"},
    "alexnet_drawn": {"alexnet_shards"},
    "alexnet_command": {"alexnet_shards"},
    "alexnet_prep": {"alexnet_command", "alexnet_drawn", "alexnet_pixels", "alexnet_shards"},
    "alexnet_stream": {"alexnet_shards"},
    "alexnet_network": {"alexnet_shards"},
    "alexnet_train": {"alexnet_command", "alexnet_network", "alexnet_pixels", "alexnet_shards", "alexnet_stream"},
}
WITH_TORCH = {"alexnet_network", "alexnet_stream", "alexnet_train"}
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
    room = path.parent.name
    assert imported & ROOMS.keys() <= ALLOWED_ROOMS[room] | {room}
    if room not in WITH_TORCH:
        assert "torch" not in imported
    if path.parent.name == "alexnet_shards":
        assert not imported & {"PIL", "click", "rich", "scipy", "simplejpeg", "webdataset"}


def face_of(room: str) -> set[str]:
    """`__all__` of a room: names that others may import, and modules that they may import from."""
    for node in ast.parse((ROOMS[room] / "__init__.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_rooms_meet_at_their_faces(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert not [name for name in node.names if name.name.split(".")[0] in ROOMS.keys() - {path.parent.name}]
        elif isinstance(node, ast.ImportFrom):
            room, _, module = (node.module or "").partition(".")
            if room in ROOMS and room != path.parent.name:
                wanted = {module} if module else {name.name for name in node.names}
                assert wanted <= face_of(room), f"{path}:{node.lineno} goes past the face of {room}"


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


def test_setup_cfg_lists_every_room() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    places = dict(line.split(" = ") for line in setup["options"]["package_dir"].split("\n") if line)
    assert set(setup["options"]["packages"].split(", ")) == set(ROOMS)
    assert {name: ROOT / place for name, place in places.items()} == ROOMS


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_rooms_readme_has_a_line_for_every_file(path: Path) -> None:
    if path.name != "__init__.py":
        assert f"| `{path.name}` |" in (path.parent / "README.md").read_text()
