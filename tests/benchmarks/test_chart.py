"""The picture of a result: whose bars, how long, and small enough."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.chart import MOST_BYTES, bars, chart_of, main
from benchmarks.results import Column, Part, Result

RATE = Column(key="rate", title="images/s", better="more")


def result(contenders: int) -> Result:
    values = {"ours": {"rate": [300.0, 200.0]}, "ours, child process": {"rate": [290.0, 190.0]}}
    values |= {f"loader {number}": {"rate": [100.0 + number, 100.0 + number]} for number in range(contenders)}
    part = Part(key="stream", title="Stream", note="", columns=(RATE,), ours="ours", values=values)
    other = Part(key="growth", title="Growth", note="", columns=(RATE,), ours="", values={"index": {"rate": [1.0]}})
    return Result(facts={"date": "2026-11-30T21:30"}, parts=(part, other))


def test_a_bar_for_each_other_by_the_ratio_of_the_table(tmp_path: Path) -> None:
    page = result(2).save(tmp_path, "x")
    picture = tmp_path / "pictures" / "bench.svg"
    main(page.with_suffix(".json"), picture)
    root = ElementTree.fromstring(picture.read_text())
    texts = {"".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"Stream: loader 0", "Stream: loader 1", "2.5", "2.48"} <= texts
    assert "2026-11-30" in str(root.get("aria-label"))
    assert picture.stat().st_size < MOST_BYTES


def test_ours_has_no_bar() -> None:
    from dataclasses import asdict

    kept = asdict(result(1))
    assert bars(kept) == [("Stream: loader 0", 2.5)]
    assert chart_of(kept).figures.rows == (("Stream: loader 0", "2.5"),)


def test_a_picture_that_is_too_large_is_none(tmp_path: Path) -> None:
    page = result(400).save(tmp_path, "x")
    with pytest.raises(ValueError, match="bytes; expected at most"):
        main(page.with_suffix(".json"), tmp_path / "bench.svg")
    assert not (tmp_path / "bench.svg").exists()
