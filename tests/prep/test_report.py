"""The report's JSON, manifest entry and table."""

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from alexnet_prep.imagenet import read_official_split
from alexnet_prep.report import manifest_reports, report_lines, report_table, split_report
from alexnet_prep.sidecar import Sidecar
from alexnet_shards.editions import EDITIONS
from alexnet_shards.errors import FormatError
from alexnet_shards.manifest import Manifest

SIDECAR = Sidecar(
    number=0,
    name="train-000.tar",
    samples=15,
    bytes=1000,
    sha256="0" * 64,
    rows="",
    dropped=[("n2", "truncated"), ("n1", "no image")],
    converted={"gray": ["g2", "g1"], "cmyk": ["c1"]},
    patched=["p1"],
)


def make_report(small_source: Any) -> Any:
    """A report over two shards."""
    source = read_official_split(EDITIONS["2010"], small_source.directory, "train", "devkit", lambda _: None)
    other = replace(SIDECAR, number=1, samples=6, dropped=[("n0", "empty")], converted={"gray": ["g0"]}, patched=[])
    return split_report(source, [SIDECAR, other])


def test_every_member_is_summed_and_sorted(small_source: Any) -> None:
    report = make_report(small_source).as_json(12.34)
    assert report["members"] == 24
    assert (report["written"], report["patched"], report["shards"], report["images_per_second"]) == (21, 1, 2, 12.3)
    assert report["dropped"] == [
        {"key": "n0", "reason": "empty"},
        {"key": "n1", "reason": "no image"},
        {"key": "n2", "reason": "truncated"},
    ]
    assert report["converted"] == {"cmyk": 1, "gray": 3}
    assert make_report(small_source).manifest_entry()["converted"] == {"cmyk": ["c1"], "gray": ["g0", "g1", "g2"]}


def test_the_table_and_lines_say_it_all(small_source: Any) -> None:
    report = make_report(small_source).as_json(12.34)
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(report_table([report]))
    text = console.export_text()
    for words in ("train", "24", "21", "cmyk 1, gray 3"):
        assert words in text
    assert report_lines(report)[0] == "dropped n0: empty"
    many = {**report, "dropped": [{"key": f"k{n}", "reason": "r"} for n in range(50)]}
    assert report_lines(many)[-1] == f"… and {50 + len(report['notes']) - 20} more, all in train.manifest.json"


@pytest.mark.parametrize(
    "report",
    [{"members": "x"}, {"converted": []}, {"converted": {"gray": 3}}, {"dropped": [["k", "r"]]}, {"notes": [7]}],
)
def test_a_damaged_report_in_a_manifest_is_one_line(report: dict[str, Any]) -> None:
    manifest = Manifest(split="train", classes=(), shards=(), report=report)
    with pytest.raises(FormatError, match=r"train\.manifest\.json: damaged report"):
        manifest_reports([manifest])
    assert manifest_reports([Manifest(split="train", classes=(), shards=())])[0]["dropped"] == []
