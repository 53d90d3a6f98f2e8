"""The examples: each says what it needs, docs/clients.md has a line for each, and the light ones run."""

import ast
import configparser
import importlib.util
import re
import runpy
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
# Those whose packages are in the dev extra; each takes a few seconds.
LIGHT = ("torch_dataloader", "torchdata_stateful", "webdataset_stock", "webdataset_indexed", "grain_dataset")
CLIENTS = 20


@pytest.fixture(scope="module")
def runner() -> ModuleType:
    spec = importlib.util.spec_from_file_location("clients_runner", ROOT / "benchmarks" / "clients.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["clients_runner"] = module
    spec.loader.exec_module(module)
    return module


def test_each_says_what_it_needs_and_pins_it(runner: ModuleType) -> None:
    assert len(EXAMPLES) == CLIENTS
    page = (ROOT / "docs" / "clients.md").read_text()
    for path in EXAMPLES:
        example = runner.read_example(path)
        assert example.title.count(":") >= 1, path
        assert f"examples/{path.name}" in page, path
        for need in example.needs:
            assert need.startswith("alexnet-replication") or re.fullmatch(r"[a-z0-9-]+(\[.*\])?==[0-9.]+", need), need


def test_one_environment_never_wants_two_versions(runner: ModuleType) -> None:
    pins: dict[tuple[str, str], str] = {}
    for path in EXAMPLES:
        example = runner.read_example(path)
        for need in example.needs:
            name, _, version = need.partition("==")
            assert pins.setdefault((example.venv, name), version) == version, path


def test_a_file_without_a_head_is_refused(runner: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "bare.py").write_text('"""Title: text."""\n')
    with pytest.raises(ValueError, match="no PEP 723 block"):
        runner.read_example(tmp_path / "bare.py")


def test_dev_has_what_the_light_ones_need(runner: ModuleType) -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    had = setup["options.extras_require"]["dev"] + setup["options"]["install_requires"]
    for name in LIGHT:
        for need in runner.read_example(ROOT / "examples" / f"{name}.py").needs:
            assert need.startswith("alexnet-replication") or need.partition("==")[0] in had


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves its files open
@pytest.mark.parametrize("name", LIGHT)
def test_it_sees_every_sample_once(
    name: str,
    tmp_path: Path,
    make_shards: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_shards(tmp_path / "shards", (7, 5, 9, 4))
    labels = []
    for path in (tmp_path / "shards").glob("train-*.tar"):
        with tarfile.open(path) as archive:
            members = [member for member in archive if member.name.endswith(".cls")]
            labels += [int(archive.extractfile(member).read()) for member in members]  # type: ignore[union-attr]
    monkeypatch.setattr(sys, "argv", [f"{name}.py", str(tmp_path)])
    runpy.run_path(str(ROOT / "examples" / f"{name}.py"), run_name="__main__")  # this process has torch already
    assert capsys.readouterr().out == f"{len(labels)} {sum(labels)}\n"


def test_none_imports_what_is_private() -> None:
    for path in EXAMPLES:
        modules = {node.module for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)}
        ours = {module for module in modules if module and module.startswith("alexnet_")}
        assert ours <= {"alexnet_stream", "alexnet_stream.indexed"}, path
