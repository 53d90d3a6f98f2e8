"""The rooms: which may import which, through which face; the homes of what can fail; files and functions stay small."""

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
    "alexnet_pages": {"alexnet_shards"},
    "alexnet_command": {"alexnet_shards"},
    "alexnet_remote": {"alexnet_shards"},
    "alexnet_prep": {
        "alexnet_command",
        "alexnet_drawn",
        "alexnet_pages",
        "alexnet_pixels",
        "alexnet_remote",
        "alexnet_shards",
    },
    "alexnet_stream": {"alexnet_remote", "alexnet_shards"},
    "alexnet_network": {"alexnet_shards"},
    "alexnet_train": {
        "alexnet_command",
        "alexnet_network",
        "alexnet_pages",
        "alexnet_pixels",
        "alexnet_remote",
        "alexnet_shards",
        "alexnet_stream",
    },
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


# What is done in one place only: the home's files. Everybody else calls the home.
HOMES = {
    "rename": {"alexnet_shards/files.py"},  # write_atomic, replace_file, link_or_copy
    "write": {"alexnet_shards/files.py"},  # atomic_file, write_atomic, append_bytes
    "lock": {"alexnet_shards/files.py", "alexnet_shards/locks.py"},  # locked, owned, locked_file
    "process": {"alexnet_shards/processes.py"},  # start_child, call_apart, run_module, run_program; pool.worker_pool
    "np.load": {"alexnet_shards/parsing.py"},
    "json": {"alexnet_shards/parsing.py"},
    "toml": {"alexnet_shards/parsing.py"},
    "torch.load": {"alexnet_train/checkpoint.py", "alexnet_train/weightsfile.py"},  # ours, and other people's weights
    "fsspec": {"alexnet_remote/store.py"},
    "print": {"alexnet_command/printing.py"},
}
# Who does it nevertheless. The list only shrinks.
EXCEPTIONS = {
    "rename": {"alexnet_train/aside.py"},  # a folder of a run, across file systems too
    "lock": {"alexnet_remote/cache.py"},  # a look whether somebody downloads, which must not wait
    "np.load": {"alexnet_prep/split.py"},  # a cache of our own, which is made again where it cannot be read
    "json": {"alexnet_prep/split.py"},
    "toml": {"alexnet_train/recipe.py"},  # the value of --set key=value
}
CALLS = {
    "os.replace": "rename",
    "os.rename": "rename",
    "os.renames": "rename",
    "shutil.move": "rename",
    "np.load": "np.load",
    "json.load": "json",
    "json.loads": "json",
    "torch.load": "torch.load",
    "print": "print",
}
METHODS = {"write_text": "write", "write_bytes": "write", "rename": "rename"}
IMPORTS = {
    "subprocess": "process",
    "multiprocessing": "process",
    "tomllib": "toml",
    "fsspec": "fsspec",
    "fcntl": "lock",
}
PIPES_ONLY = "multiprocessing.connection"  # the end of a pipe starts nothing


def deeds_of(path: Path) -> set[str]:
    """What of HOMES a module does."""
    deeds = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            deeds |= {IMPORTS.get(alias.name.split(".")[0], "") for alias in node.names if alias.name != PIPES_ONLY}
        elif isinstance(node, ast.ImportFrom) and node.module != PIPES_ONLY:
            deeds.add(IMPORTS.get((node.module or "").split(".")[0], ""))
            if node.module == "concurrent.futures" and any("Process" in alias.name for alias in node.names):
                deeds.add("process")
        elif isinstance(node, ast.Call):
            deeds.add(_deed_of_call(node))
    return deeds - {""}


def _deed_of_call(call: ast.Call) -> str:
    name = ast.unparse(call.func)
    if name in CALLS:
        return CALLS[name]
    method = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    if method in METHODS:
        return METHODS[method]
    if method == "replace" and len(call.args) == 1 and not call.keywords:  # a path's; a text's has two arguments
        return "rename"
    if name == "open" or method == "open":
        words = [*call.args, *(word.value for word in call.keywords if word.arg == "mode")]
        modes = [word.value for word in words if isinstance(word, ast.Constant) and isinstance(word.value, str)]
        if any(mode[:1] in ("w", "a", "x") and len(mode) <= 3 for mode in modes):
            return "write"
    return ""


@pytest.mark.parametrize("deed", HOMES)
def test_each_has_its_home(deed: str) -> None:
    doers = {f"{path.parent.name}/{path.name}" for path in MODULES if deed in deeds_of(path)}
    assert doers - HOMES[deed] == EXCEPTIONS.get(deed, set())


@pytest.mark.parametrize(
    ("code", "deed"),
    [
        ("import os\nos.replace(a, b)", "rename"),
        ("path.replace(other)", "rename"),
        ("path.open('wb')", "write"),
        ("open(path, mode='a')", "write"),
        ("path.write_text('x')", "write"),
        ("from multiprocessing import Pipe", "process"),
        ("from concurrent.futures import ProcessPoolExecutor", "process"),
        ("def f():\n    import subprocess", "process"),
        ("print(1)", "print"),
        ("json.loads(x)", "json"),
    ],
)
def test_what_is_seen(tmp_path: Path, code: str, deed: str) -> None:
    (tmp_path / "x.py").write_text(code)
    assert deeds_of(tmp_path / "x.py") == {deed}


@pytest.mark.parametrize(
    "code",
    [
        "text.replace('a', 'b')",
        "replace(job, x=1)",
        "path.open('rb')",
        "from multiprocessing.connection import wait",
        "from concurrent.futures import ThreadPoolExecutor",
        "json.dumps(x)",
    ],
)
def test_what_is_nothing(tmp_path: Path, code: str) -> None:
    (tmp_path / "x.py").write_text(code)
    assert deeds_of(tmp_path / "x.py") == set()
