"""`alexnet-predict --html` in a real browser: labels, bars and neighbours are those of its JSON; figure 4's six."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import Result
from PIL import Image

from alexnet_shards import ClassFact
from alexnet_stream import ShardDataset
from alexnet_train.predictpage import MAX_CARDS, known_class, predict_page


@pytest.fixture(scope="module")
def seen_photos(
    make_run: Callable[..., str], run: Callable[..., Result], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Path]]:
    """A run of one epoch, and three training photos as files: one in its class's folder, one with its WNID, one without."""
    directory = tmp_path_factory.mktemp("predict")
    pattern = make_run(directory)
    sets = [word for one in ("width=0.0625", "batch_size=5", "epochs=1") for word in ("--set", one)]
    assert run("train", "--shards", pattern, "--recipe", "demo", *sets, "--out", directory / "run").exit_code == 0
    photos = [directory / "n00000000" / "a.png", directory / "n00000001_b.png", directory / "c<i>.png"]
    with ShardDataset([pattern]) as dataset:
        for row, path in enumerate(photos):
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(dataset[row][0]).save(path)
    return directory, photos


def test_the_page_says_what_the_json_says(
    seen_photos: tuple[Path, list[Path]], run: Callable[..., Result], browser: SimpleNamespace
) -> None:
    directory, photos = seen_photos
    path = directory / "seen.html"
    words = ("--checkpoint", directory / "run", "--top", 7, "--nearest", directory, "--html", path)
    done = run("predict", *words, "--json", *photos)
    assert done.exit_code == 0, done.output
    images = json.loads(done.stdout)["images"]
    assert path.stat().st_size < 6_000_000
    with browser.opened(path.as_uri(), 390, "dark") as seen:
        browser.check_self_contained(seen, path)
        cards = seen.page.locator(".card").all()
        assert len(cards) == 3
        for card, one, right in zip(cards, images, ("n00000000", "n00000001", None), strict=True):
            names = [name.removesuffix(" ✓") for name in card.locator(".name").all_inner_texts()]
            assert names == [guess["wnid"] for guess in one["predictions"]]
            shares = [f"{100 * guess['probability']:.1f}%" for guess in one["predictions"]]
            assert card.locator(".share").all_inner_texts() == shares
            marked = [name.removesuffix(" ✓") for name in card.locator(".marked .name").all_inner_texts()]
            assert marked == ([right] if right else [])
            assert len(one["nearest"]) == card.locator(".below img").count() == 6
            told = [f"{fact['wnid']}, {fact['distance']:.2f} away" for fact in one["nearest"]]
            assert card.locator(".below figcaption").all_inner_texts() == told
            widest = card.locator(".fill").first.evaluate("fill => fill.offsetWidth / fill.parentElement.offsetWidth")
            assert abs(widest - one["predictions"][0]["probability"]) < 0.03
        assert seen.page.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")


@pytest.mark.parametrize("columns", ["30", "50", "200"])
def test_bars_in_the_terminal_at_any_width(
    seen_photos: tuple[Path, list[Path]], run: Callable[..., Result], columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, photos = seen_photos
    monkeypatch.setenv("COLUMNS", columns)
    done = run("predict", "--checkpoint", directory / "run", photos[0])
    assert done.exit_code == 0, done.output
    assert "\x1b" not in done.stdout
    bars = [
        line
        for line in done.stdout.splitlines()[1:]
        if "#" in line or "\u2588" in line or "\u258f" <= line[-1:] <= "\u2588"
    ]
    assert bars
    assert all(len(line) <= int(columns) for line in done.stdout.splitlines()[1:])


def test_what_cannot_be_is_refused_before_the_work(
    seen_photos: tuple[Path, list[Path]], run: Callable[..., Result]
) -> None:
    """A photo that stands behind --html is not written over."""
    directory, photos = seen_photos
    before = photos[0].read_bytes()
    refused = run("predict", "--checkpoint", directory / "run", "--html", photos[0], photos[1])
    assert (refused.exit_code, "ends in .html" in refused.stderr, refused.stdout) == (1, True, "")
    assert photos[0].read_bytes() == before
    refused = run("predict", "--checkpoint", directory / "run", "--nearest-classes", 9, photos[0])
    assert (refused.exit_code, "--top" in refused.stderr) == (2, True)


def test_known_classes_and_a_bounded_page() -> None:
    classes = (ClassFact(wnid="n1", words="cat, house cat"), ClassFact(wnid="n2"))
    assert known_class(Path("x/n1/a.jpg"), classes) == known_class(Path("n1_3.JPEG"), classes) == classes[0]
    assert known_class(Path("n3/a_n1.jpg"), classes) is None
    found = [{"image": f"{n}.jpg", "predictions": []} for n in range(MAX_CARDS + 2)]
    grey = __import__("numpy").full((256, 256, 3), 99, "uint8")
    page = predict_page(found, classes, [grey] * MAX_CARDS, {})
    assert [len(getattr(block, "cards", ())) for block in page.sections[0].blocks] == [MAX_CARDS, 0]
    assert "2 more" in str(page.sections[0].blocks[1])
