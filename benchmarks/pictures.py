"""The pictures of README.md, from the pages that `make demo` leaves: drawn photos, and what a network learnt of them."""

import argparse
import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

OUT = Path(__file__).parents[1] / "docs" / "pictures"
WIDTH_PX, GAP_PX = 1000, 12
SHARDS = (
    ("#samples .gallery", 138),
    ("#statistics .row", 0),
    ("#what-training-does-to-a-picture .gallery >> nth=2", 0),
)
TRAINING = (("#errors .chart-card >> nth=0", 0), ("#first-filters .gallery >> nth=0", 0))
QUALITY, MAX_BYTES = 65, 150_000


def parts_of(page: Any, parts: Sequence[tuple[str, int]]) -> list[Image.Image]:
    """Pictures of elements, by selector, each no higher than so many pixels (0: as it is)."""
    found = []
    for selector, height_px in parts:
        picture = Image.open(io.BytesIO(page.locator(selector).first.screenshot())).convert("RGB")
        found.append(picture.crop((0, 0, picture.width, height_px or picture.height)))
    return found


def stacked(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures below each other on white."""
    height_px = sum(picture.height + GAP_PX for picture in pictures) - GAP_PX
    sheet, top_px = Image.new("RGB", (max(picture.width for picture in pictures), height_px), "white"), 0
    for picture in pictures:
        sheet.paste(picture, (0, top_px))
        top_px += picture.height + GAP_PX
    return sheet


def main(demo: Path) -> None:
    """Look at both pages in a browser and keep the two pictures."""
    from playwright.sync_api import sync_playwright

    OUT.mkdir(exist_ok=True)
    with sync_playwright() as driver:
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for folder, name, parts in (("shards", "shards.jpg", SHARDS), ("run", "training.jpg", TRAINING)):
            page = browser.new_page(viewport={"width": WIDTH_PX, "height": 900}, color_scheme="light")
            page.goto((demo / folder / "report.html").resolve().as_uri())
            page.wait_for_function("document.documentElement.dataset.drawn === 'yes'", timeout=60_000)
            page.add_style_tag(content="details { display: none }")
            stacked(parts_of(page, parts)).save(OUT / name, quality=QUALITY, optimize=True)
            size = (OUT / name).stat().st_size
            print(f"{OUT / name}: {size:,} bytes")
            if size > MAX_BYTES:
                raise SystemExit(f"{OUT / name}: {size:,} bytes; expected at most {MAX_BYTES:,}")
        browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", type=Path, default=Path("demo"), help="what make demo left")
    main(parser.parse_args().demo)
