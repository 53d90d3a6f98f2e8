"""The report of real shards in a real browser: its figures are those of `report --json`."""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from alexnet_prep.shardspage import ORDER

DRAWN = "document.documentElement.dataset.drawn === 'yes'"


def prep(*words: object) -> str:
    command = [sys.executable, "-m", "alexnet_prep.cli", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def made(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    out = tmp_path_factory.mktemp("shards &amp;")
    prep("shards", "--source", data_dir / "ilsvrc2010", "--out", out, "--workers", 2)
    prep("compute-stats", "--shards", out / "train-*.tar")
    reports = json.loads(prep("report", "--shards", out, "--json", "--html", "--source", data_dir / "ilsvrc2010"))
    return out, reports


def test_the_page_says_what_the_report_says(
    made: tuple[Path, list[dict[str, Any]]], browser: SimpleNamespace, data_dir: Path
) -> None:
    out, reports = made
    path = out / "report.html"
    assert path.stat().st_size < 6_000_000
    with browser.opened(path.as_uri(), 390, "dark", DRAWN) as seen:
        browser.check_self_contained(seen, path)
        assert seen.text("h1") == [f"Shards in {out.name}"]
        table = seen.page.locator("#the-account table").first
        rows = [[cell.strip() for cell in row.split("\t")] for row in table.inner_text().splitlines()[1:]]
        for report, row in zip(
            sorted(reports, key=lambda each: ORDER.index(each["split"])),
            (row for row in rows if len(row) > 1),
            strict=True,
        ):
            found = [report["split"], report["entries"], report["written"], report["patched"], len(report["dropped"])]
            assert row[:5] == [found[0], *(f"{number:,}" for number in found[1:])]
        text = " ".join(seen.text("#the-account"))
        assert all(
            entry["key"] in text and entry["reason"] in text for report in reports for entry in report["dropped"]
        )
        assert seen.page.locator("#odd-pictures img").count() >= 12
        assert seen.text("pre")[0].splitlines()[0] == shlex.join(
            ("alexnet-prep", "shards", "--source", str(data_dir / "ilsvrc2010"), "--out", str(out))
        )
        assert "was bound by its stage" in " ".join(seen.text("#where-the-time-went"))
        assert seen.page.locator("#samples img").count() == 48
        assert seen.page.locator("#what-training-does-to-a-picture img").count() == 6 + 3 * 7
        assert seen.page.locator(".chart svg").count() == 4 + 2 + 3 + 3
        manifest = json.loads((out / "train.manifest.json").read_text())
        for place, name in enumerate(("width_px", "height_px", "aspect", "bytes")):
            bins = seen.page.evaluate(f"JSON.parse(document.getElementById('spec-{place}').textContent).data.values")
            counted = manifest["report"]["sizes"][name]
            assert [(each["to"], each["count"]) for each in bins] == [(high, count) for _, high, count in counted]
            assert sum(each["count"] for each in bins) == 398
