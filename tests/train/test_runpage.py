"""A run's page, kept while it trains: its figures are those of metrics.jsonl, and drawing it never harms the run."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from click.testing import Result

from alexnet_command.progress import Progress
from alexnet_shards.errors import AlexnetError
from alexnet_train.distributed import World
from alexnet_train.loop import fit
from alexnet_train.metrics import read_metrics
from alexnet_train.recipe import load_recipe
from alexnet_train.runconfig import RunConfig
from alexnet_train.runfiles import read_run
from alexnet_train.runpage import MAX_POINTS, runs_page

DRAWN = "document.documentElement.dataset.drawn === 'yes'"


@pytest.fixture(scope="module")
def runs(make_run: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of three epochs, `one` and `two`."""
    directory = tmp_path_factory.mktemp("runs")
    (directory / "shards").mkdir()
    pattern = make_run(directory / "shards")
    world = World(device=torch.device("cpu"))
    for name, rate in (("one", 0.01), ("two", 0.02)):
        settings = ["width=0.0625", "batch_size=5", "log_every_steps=2", "epochs=3", f"learning_rate={rate}"]
        run = RunConfig(
            recipe=load_recipe("demo", settings),
            shards=[pattern],
            val_shards=[str(directory / "shards" / "val-*.tar")],
            stats=None,
            out_dir=directory / name,
            world=world,
        )
        with Progress("train", "steps", quiet=True) as progress:
            fit(run, progress)
    return directory


def test_the_page_says_what_the_metrics_say(runs: Path, browser: SimpleNamespace) -> None:
    path = runs / "one" / "report.html"
    last = [record for record in read_metrics(runs / "one" / "metrics.jsonl") if record["kind"] == "epoch"][-1]
    with browser.opened(path.as_uri(), 390, "light", DRAWN) as seen:
        browser.check_self_contained(seen, path)
        assert seen.text("h1") == ["Run one"]
        cells = seen.text("#where-it-stands td")
        assert cells[:3] == ["one", "3 of 3", f"{last['step']:,}"]
        assert f"{last['val_top1_error']:.1%}" in cells
        assert seen.page.locator("#first-filters img").count() == 3
        assert seen.page.locator(".chart svg").count() >= 8
        seen.page.locator("#errors summary").first.click()
        figures = seen.text("#errors details[open] td")
        assert f"{100 * last['val_top1_error']:.4g}" in figures
        rows = dict(zip(seen.text("#recipe td:nth-child(1)"), seen.text("#recipe td:nth-child(2)"), strict=True))
        assert rows["train.epochs"] == "3"


def test_a_run_that_went_on_says_where_and_what_its_layers_do(
    runs: Path, run: Callable[..., Result], browser: SimpleNamespace, tmp_path: Path
) -> None:
    words = [word for one in ("width=0.0625", "batch_size=5", "log_every_steps=2") for word in ("--set", one)]
    for epochs in (1, 3):
        command = ("train", "--shards", runs / "shards" / "train-*.tar", "--recipe", "demo", *words)
        done = run(*command, "--set", f"epochs={epochs}", "--out", tmp_path / "run", "--device", "cpu")
        assert done.exit_code == 0, done.output
    files = read_run(tmp_path / "run")
    assert list(files.resumes) == [files.epochs[0]["step"]]
    assert list(files.marks["epoch"]) == [1.0]
    path, (_, last) = tmp_path / "run" / "report.html", files.activities[-1]
    assert [epoch for epoch, _ in files.activities] == [1, 2, 3]
    with browser.opened(path.as_uri(), 1280, "dark", DRAWN) as seen:
        browser.check_self_contained(seen, path)
        assert f"at step {files.resumes[0]}." in " ".join(seen.text("#loss p"))
        assert seen.page.locator("#errors .mark-rule line").count() >= 1
        for details in seen.page.locator("#layers summary").all():
            details.click()
        counts = zip(last.names, last.dead, last.units, strict=True)
        rows = [row.split("\t") for row in seen.text("#layers .row > div:last-child tbody tr")]
        assert [[cell.strip() for cell in row] for row in rows] == [
            [name, f"{dead:,}", f"{units:,}"] for name, dead, units in counts
        ]


def test_runs_side_by_side(runs: Path, run: Callable[..., Result], tmp_path: Path) -> None:
    done = run("report", runs / "one", runs / "two", "--out", tmp_path / "both.html")
    assert done.exit_code == 0, done.output
    text = (tmp_path / "both.html").read_text()
    assert "2 runs" in text
    assert "two, validation, top-1" in text
    assert done.stdout.strip() == f"page: {tmp_path / 'both.html'}"
    refused = run("report", tmp_path)
    assert (refused.exit_code, "expected the directory of a run" in refused.stderr) == (1, True)


def test_a_page_that_cannot_be_drawn_is_said_once_and_the_run_goes_on(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    (tmp_path / "run" / "report.html").mkdir(parents=True)  # a folder stands where the page would
    settings = ["width=0.0625", "batch_size=5", "epochs=2", "num_classes=0"]
    run = RunConfig(
        recipe=load_recipe("demo", settings),
        shards=[str(runs / "shards" / "train-*.tar")],
        val_shards=(),
        stats=None,
        out_dir=tmp_path / "run",
        world=World(device=torch.device("cpu")),
    )
    with Progress("train", "steps", quiet=True) as progress:
        monkeypatch.setattr(progress, "say", said.append)
        record = fit(run, progress)
    assert record["epoch"] == 2
    assert len([line for line in said if "no page is drawn" in line]) == 1


def test_many_records_make_a_bounded_page(runs: Path) -> None:
    files = read_run(runs / "one")
    many = replace(files, steps=[{**files.steps[0], "step": step} for step in range(100_000)])
    spec = json.dumps(
        [
            chart.spec
            for section in runs_page([many]).sections
            for block in section.blocks
            for chart in (getattr(block, "charts", None) or ([block] if hasattr(block, "spec") else []))
        ]
    )
    assert spec.count('"line": "training"') <= MAX_POINTS + 3 * 4
    with pytest.raises(AlexnetError, match="no recipe.toml"):
        read_run(runs)
