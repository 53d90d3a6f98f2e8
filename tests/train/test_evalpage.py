"""`alexnet-eval --html` in a real browser: the page's figures are those of its JSON."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import Result

from alexnet_command.units import share_text
from alexnet_train.evalpage import interval_text, page_path, shown_rows, unlike

DRAWN = "document.documentElement.dataset.drawn === 'yes'"


@pytest.fixture(scope="module")
def trained(
    make_run: Callable[..., str], run: Callable[..., Result], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """A run of one epoch, evaluated with a page; its directory and the JSON of the evaluation."""
    directory = tmp_path_factory.mktemp("eval")
    pattern = make_run(directory, (9, 8), (40, 21))
    sets = [word for one in ("width=0.0625", "batch_size=5", "epochs=1") for word in ("--set", one)]
    done = run("train", "--shards", pattern, "--recipe", "demo", *sets, "--out", directory / "run")
    assert done.exit_code == 0, done.output
    done = run("eval", "--checkpoint", directory / "run", "--shards", directory, "--json", "--html")
    assert done.exit_code == 0, done.output
    return directory, json.loads(done.stdout)


def test_the_page_says_what_the_json_says(trained: tuple[Path, dict[str, Any]], browser: SimpleNamespace) -> None:
    directory, result = trained
    path, figures = directory / "run" / "evaluation.html", result["figures"]
    assert result["page"] == str(path)
    assert path.stat().st_size < 6_000_000
    with browser.opened(path.as_uri(), 390, "dark", DRAWN) as seen:
        browser.check_self_contained(seen, path)
        for details in seen.page.locator("summary").all():
            details.click()
        errors = [
            [f"top-{one['top']}", share_text(one["error"]), interval_text(one), str(one["wrong"]), str(one["images"])]
            for one in figures["errors"]
        ]
        assert rows_of(seen, "#errors") == errors
        assert errors[0][3] == str(result["top1_wrong"])
        classes = rows_of(seen, "#classes")
        wanted = [*figures["classes"]["worst"], *figures["classes"]["best"]]
        assert [row[0] for row in classes] == [fact["wnid"] for fact in wanted]
        assert [row[1] for row in classes] == [share_text(fact["top1_error"]) for fact in wanted]
        pairs = [[*(name["wnid"] for name in one["classes"]), one["images"], *one["taken"]] for one in figures["pairs"]]
        assert rows_of(seen, "#taken-for-each-other") == [[str(cell) for cell in pair] for pair in pairs]
        assert seen.page.locator("#taken-for-each-other img").count() == len(pairs)
        bins = figures["calibration"]["bins"]
        assert [row[1:] for row in rows_of(seen, "#calibration")] == [
            [str(one["images"]), share_text(one["confidence"]), share_text(one["right"])] for one in bins
        ]
        assert share_text(figures["calibration"]["expected_error"]) in seen.text("#calibration dd")
        views = [
            [one["view"], share_text(one["top1_error"]), share_text(one["top5_error"])] for one in figures["views"]
        ]
        assert rows_of(seen, "#views")[:10] == views
        wrong = figures["always_wrong"]
        assert seen.page.locator("#wrong-in-every-view img").count() == len(wrong["photos"]) > 0
        assert seen.text("#wrong-in-every-view p")[0].startswith(
            f"{wrong['images']} images ({share_text(wrong['share'])})"
        )
        assert seen.page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")


def rows_of(seen: Any, section: str) -> list[list[str]]:
    """The cells of every table of a section."""
    rows = seen.page.locator(f"{section} tbody tr").all()
    return [[cell.strip() for cell in row.inner_text().split("\t")] for row in rows]


def test_the_figures_are_the_same_without_a_page(
    trained: tuple[Path, dict[str, Any]], run: Callable[..., Result]
) -> None:
    directory, result = trained
    done = run("eval", "--checkpoint", directory / "run", "--shards", directory, "--json")
    assert json.loads(done.stdout) == {name: value for name, value in result.items() if name not in ("page", "figures")}


def test_what_cannot_be_a_page_is_refused_before_the_work(
    trained: tuple[Path, dict[str, Any]], run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shard that the shell put behind --html is not written over."""
    directory, _ = trained
    shard = directory / "val-000.tar"
    before = shard.read_bytes()
    words = ("eval", "--checkpoint", directory / "run", "--shards", directory, "--html")
    for name, reason in ((shard, "ends in .html"), (directory / "none" / "a.html", "no such folder")):
        refused = run(*words, name)
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert reason in refused.stderr
    assert shard.read_bytes() == before
    monkeypatch.setitem(__import__("sys").modules, "vl_convert", None)
    refused = run(*words)
    assert (refused.exit_code, "pip install '.[report]'" in refused.stderr) == (1, True)


def test_where_the_page_goes_and_how_classes_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    assert page_path("", tmp_path / "run" / "checkpoints" / "best.pt") == tmp_path / "run" / "evaluation.html"
    assert page_path("", tmp_path / "net.pt") == tmp_path / "evaluation.html"
    assert unlike(["crane", "cat", "crane"], ["n1", "n2", "n3"]) == ["crane (n1)", "cat", "crane (n3)"]
    pairs = [{"rows": [3, None]}, {"rows": [5, 3]}]
    assert shown_rows({"pairs": pairs, "always_wrong": {"photos": [{"row": 9}]}}) == {3, 5, 9}
