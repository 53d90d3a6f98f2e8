"""The table as it is printed, and the files that it is kept in."""

import json
from pathlib import Path

import pytest

from benchmarks.results import Column, Part, Result, number_text, part_lines, table_lines

RATE, TIME, WORD = (
    Column(key="rate", title="images/s", better="more"),
    Column(key="cpu", title="us", better="less"),
    Column(key="word", title="same order"),
)


def part() -> Part:
    return Part(
        key="stream",
        title="Stream",
        note="Of crops.",
        columns=(RATE, TIME, WORD),
        ours="ours",
        values={
            "ours": {"rate": [200.0, 100.0, 180.0], "cpu": [300.0, 600.0, 310.0], "word": "yes"},
            "DALI": {"rate": [100.0, 50.0, 120.0], "cpu": [450.0], "word": "no"},
            "limit": {"rate": [400.0, 400.0, 400.0]},
        },
        reasons={"ffcv": "does not install: no opencv4"},
        commands={"ours": "python /tmp/x/ours.py"},
    )


def test_a_part_line_by_line() -> None:
    assert part_lines(part()) == [
        "## Stream",
        "",
        "Of crops.",
        "",
        "|       | images/s       | us             | same order | ours x (images/s) | ours x (us) |",
        "|-------|----------------|----------------|------------|-------------------|-------------|",
        "| ours  | 180 [100..200] | 310 [300..600] | yes        |                   |             |",
        "| DALI  | 100 [50..120]  | 450            | no         | 2 [1.5..2]        | 1.5         |",
        "| limit | 400            |                |            | 0.45 [0.25..0.5]  |             |",
        "",
        "Not measured:",
        "",
        "* ffcv: does not install: no opencv4",
    ]


def test_without_ours_there_are_no_ratios() -> None:
    alone = Part(key="k", title="t", note="n", columns=(RATE,), ours="", values={"a": {"rate": [1.0]}})
    assert alone.ratio("a", RATE) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (0.25, "0.25"), (1.2345, "1.23"), (567.8, "568"), (12345.6, "12,346"), (3.1e-17, "3.1e-17"),
        (float("nan"), "-"), (float("inf"), "-"),
    ],
)  # fmt: skip
def test_numbers(value: float, text: str) -> None:
    assert number_text(value) == text


def test_columns_stand_below_each_other() -> None:
    lines = table_lines(["a", "bbb"], [["xx", "y"]])
    assert lines == ["| a  | bbb |", "|----|-----|", "| xx | y   |"]


def test_the_files_hold_every_round_and_no_folder_that_is_gone(tmp_path: Path) -> None:
    result = Result(
        facts={"date": "2026-11-30", "command": "bench --data /tmp/x/data", "hardware": {"cores": 2}}, parts=(part(),)
    ).without({"/tmp/x": "WORK", "/tmp/x/data": "DATA"})
    page = result.save(tmp_path / "results", "2026-11-30-table")
    kept = json.loads(page.with_suffix(".json").read_text())
    assert kept["parts"][0]["values"]["ours"]["rate"] == [200.0, 100.0, 180.0]
    assert kept["facts"]["hardware"] == {"cores": 2}
    text = page.read_text()
    assert text.startswith("# Beside what people would use instead\n")
    assert '* hardware: {"cores": 2}' in text
    assert "* stream, ours: `python WORK/ours.py`" in text
    assert "* command: bench --data DATA" in text
    assert "/tmp/x" not in text
