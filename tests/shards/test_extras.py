"""What is said where an optional library is missing; every extra that is named exists."""

import ast
import configparser
from pathlib import Path

import pytest

from alexnet_shards.extras import MissingLibraryError, how_to_install, require

ROOT = Path(__file__).parent.parent.parent
SOURCES = [path for folder in ("prep", "shards", "train") for path in sorted((ROOT / folder).glob("*/*.py"))]


def test_what_is_there_is_required_in_silence() -> None:
    require("json", "json", "any")


def test_a_missing_one_names_its_extra() -> None:
    with pytest.raises(MissingLibraryError) as raised:
        require("no_such_module.inside", "Nothing", "one", "other")
    assert str(raised.value) == "Nothing is not installed; pip install '.[one]' or '.[other]' in the checkout"
    assert isinstance(raised.value, ImportError)


@pytest.mark.parametrize(
    ("body", "words"),
    [("import no_such_module", "it lacks no_such_module"), ("raise ImportError('no\\nsymbol')", "no")],
)
def test_one_that_does_not_load_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, words: str
) -> None:
    (tmp_path / "broken_here.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingLibraryError) as raised:
        require("broken_here", "Broken", "one")
    assert str(raised.value) == f"Broken does not load ({words}); {how_to_install('one')}"


def extras_named(path: Path) -> set[str]:
    """The extras in calls of `require` and `missing`."""
    first = {"require": 2, "missing": 1, "how_to_install": 0}
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in first:
            words = node.args[first[ast.unparse(node.func)] :]
            found |= {str(word.value) for word in words if isinstance(word, ast.Constant)}
    return found


def test_every_extra_that_is_named_exists() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    named = set().union(*(extras_named(path) for path in SOURCES))
    assert {"simd", "pillow", "export"} <= named <= set(setup["options.extras_require"])


def test_nobody_else_writes_that_line() -> None:
    for path in SOURCES:
        text = path.read_text()
        assert "alexnet-replication[" not in text, path
        assert path.name == "extras.py" or "'.[" not in text, path
