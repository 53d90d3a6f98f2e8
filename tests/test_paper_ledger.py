"""docs/paper.md: every row's code, recipe and test exists, and its numbers stand in the tests that it cites."""

import ast
import functools
import importlib
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LEDGER = ROOT / "docs" / "paper.md"
# A number of its own: conv2, ILSVRC-2010 and section 3.5.1 have none; 224x224 has two.
NUMBER = re.compile(r"(?<![\w.-])\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?(?![\w.]*\w)")


def rows() -> list[list[str]]:
    lines = [line for line in LEDGER.read_text().splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def cited(cell: str) -> list[tuple[Path, str]]:
    """(file, function) of each `file::function` of a cell."""
    names = [name.partition("::") for name in re.findall(r"`([^`]+)`", cell)]
    return [(ROOT / file, function) for file, _, function in names]


def numbers_of_text(text: str) -> set[float]:
    """The numbers of a text, but for those in *italics* and `code`."""
    plain = re.sub(r"\*\*(\w+)\*\*", r"\1", text)
    plain = re.sub(r"\*\w[^*|]*\*|`[^`]*`", "", plain)
    plain = re.sub(r"(?<=\d)x(?=\d)", " ", plain)
    return {float(number.replace(",", "")) for number in NUMBER.findall(plain)}


@functools.cache
def definitions(path: Path) -> dict[str, ast.stmt]:
    """What each name at the top of a module is."""
    found: dict[str, ast.stmt] = {}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id: node for target in targets if isinstance(target, ast.Name)}
    return found


def numbers_of_code(path: Path, name: str) -> set[float]:
    """The numbers of a test and of what it uses of its module; docstrings prove nothing."""
    known, seen, waiting, found = definitions(path), set[str](), [name], set[float]()
    while waiting:
        node = known[waiting.pop()]
        docs = {id(item.value) for item in ast.walk(node) if isinstance(item, ast.Expr)}
        for item in ast.walk(node):
            if isinstance(item, ast.Constant) and id(item) not in docs:
                found |= numbers_of_value(item.value)
            elif isinstance(item, ast.Name | ast.arg):
                used = item.id if isinstance(item, ast.Name) else item.arg
                if used in known and used not in seen:
                    seen.add(used)
                    waiting.append(used)
    return found


def numbers_of_value(value: object) -> set[float]:
    if isinstance(value, str):
        return numbers_of_text(value.replace("=", " ").replace("_", " "))
    return {float(value)} if isinstance(value, int | float) and not isinstance(value, bool) else set()


def missing(texts: Iterable[str], tests: Iterable[tuple[Path, str]]) -> set[float]:
    """The numbers of `texts` that stand in none of the tests."""
    wanted = {number for text in texts for number in numbers_of_text(text)}
    return wanted.difference(*(numbers_of_code(path, name) for path, name in tests))


def test_every_reference_exists() -> None:
    for section, statement, _, code, test in rows():
        where = f"{section} {statement}"
        for name in re.findall(r"`([^`]+)`", code):
            if name.startswith("recipes/"):
                assert (ROOT / "train" / "alexnet_train" / name).is_file(), where
                continue
            if name.startswith("docs/"):
                assert (ROOT / name).is_file(), where
                continue
            module, _, attribute = name.rpartition(".")
            if attribute.islower() and (ROOT / "prep" / module / f"{attribute}.py").is_file():
                continue
            assert hasattr(importlib.import_module(module), attribute), where
        for path, function in cited(test):
            assert function.startswith("test_"), f"{where}: which test of {path}?"
            assert function in definitions(path), where
        assert code == "not here" or cited(test), where


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row[0]} {row[1][:30]}")
def test_a_rows_numbers_stand_in_its_tests(row: list[str]) -> None:
    _, statement, released, _, test = row
    assert missing((statement, released), cited(test)) == set()


def test_what_does_not_stand_there_is_missed(tmp_path: Path) -> None:
    path = tmp_path / "test_x.py"
    path.write_text(
        'K = 5\n\ndef part():\n    return 0.75\n\ndef test_x():\n    """Of 9."""\n    assert part() == K, "n=7"\n'
    )
    tests = [(path, "test_x")]
    assert missing(("beta=0.75, 5x5, n = 7; *41 points*, conv2, ILSVRC-2010, `3`",), tests) == set()
    assert missing(("9 of 1,000, (a * b) ** 8, 1e-4",), tests) == {9, 1000, 8, 1e-4}


def test_the_papers_sections_are_all_there() -> None:
    sections = {part for row in rows() for part in re.findall(r"\d(?:\.\d)?", row[0])}
    assert sections >= {"2", "3.1", "3.2", "3.3", "3.4", "3.5", "4.1", "4.2", "5", "6", "7"}
    assert len(rows()) >= 30
