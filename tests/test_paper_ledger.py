"""docs/paper.md: every row's code, recipe and test exists."""

import importlib
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
LEDGER = ROOT / "docs" / "paper.md"


def rows() -> list[list[str]]:
    lines = [line for line in LEDGER.read_text().splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


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
        for name in re.findall(r"`([^`]+)`", test):
            assert (ROOT / name).is_file(), where
        assert code == "not here" or "`" in test, where


def test_the_papers_sections_are_all_there() -> None:
    sections = {part for row in rows() for part in re.findall(r"\d(?:\.\d)?", row[0])}
    assert sections >= {"2", "3.1", "3.2", "3.3", "3.4", "3.5", "4.1", "4.2", "5", "6", "7"}
    assert len(rows()) >= 30
