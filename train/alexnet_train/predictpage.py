"""Predictions as a page, as the paper's figure 4: photos with their labels and bars, and the nearest training photos."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet_pages import Bar, Card, Cards, Page, Picture, Section, Text, check_page, write_page
from alexnet_pages.pictures import array_picture
from alexnet_pixels import PixelRecipe
from alexnet_shards import ClassFact
from alexnet_stream import ShardDataset
from alexnet_train.evalpage import class_words
from alexnet_train.nearest import Neighbours
from alexnet_train.predict import load_image

PAGE_NAME = "predictions.html"
MAX_CARDS = 48
PHOTO_PX, THUMB_PX = 256, 96
Image = npt.NDArray[np.uint8]


def predictions_path(asked: str) -> Path:
    """Where the page goes: the file that was `asked` for, "" for predictions.html here; raises as check_page does."""
    return check_page(Path(asked or PAGE_NAME))


def known_class(path: Path, classes: Sequence[ClassFact]) -> ClassFact | None:
    """The class that a file's place tells: its folder's name, or its own up to the first "_" (n01440764_10026.JPEG)."""
    by_wnid = {fact.wnid: fact for fact in classes}
    return by_wnid.get(path.parent.name) or by_wnid.get(path.name.partition("_")[0])


def write_predict_page(
    path: Path,
    found: Sequence[Mapping[str, Any]],
    classes: Sequence[ClassFact],
    pixels: PixelRecipe,
    neighbours: Neighbours | None,
) -> None:
    """Write the page of what `predict` found, the first MAX_CARDS of it; raises AlexnetError where it cannot be."""
    shown = found[:MAX_CARDS]
    photos = [load_image(Path(one["image"]), pixels) for one in shown]
    rows = sorted({fact["row"] for one in shown for fact in one.get("nearest", ())})
    thumbs: dict[int, Image] = {}
    if neighbours is not None and rows:
        with ShardDataset(neighbours.shards) as dataset:
            thumbs = {row: image for row, (image, _) in zip(rows, dataset.__getitems__(rows), strict=True)}
    write_page(path, predict_page(found, classes, photos, thumbs))


def predict_page(
    found: Sequence[Mapping[str, Any]],
    classes: Sequence[ClassFact],
    photos: Sequence[Image],
    thumbs: Mapping[int, Image],
) -> Page:
    """The page: `photos` are those of the first of `found`, `thumbs` the training photos by their row."""
    cards = tuple(
        _card(one, known_class(Path(one["image"]), classes), photo, thumbs)
        for one, photo in zip(found, photos, strict=False)
    )
    blocks: list[Cards | Text] = [Cards(cards=cards)]
    if len(found) > len(photos):
        blocks.append(Text(text=f"… and {len(found) - len(photos):,} more, which --json has."))
    near = "; below them the training photos that are nearest by the last hidden layer" if thumbs else ""
    return Page(
        title="What the network sees",
        lead=f"The likeliest classes of each photo, the right one marked where the photo's folder or name tells it{near}.",
        sections=(Section(title=f"{len(found):,} photo{'s' if len(found) != 1 else ''}", blocks=tuple(blocks)),),
    )


def _card(one: Mapping[str, Any], right: ClassFact | None, photo: Image, thumbs: Mapping[int, Image]) -> Card:
    name = Path(one["image"]).name
    bars = tuple(
        Bar(
            name=class_words(guess),
            share=guess["probability"],
            marked=right is not None and guess["wnid"] == right.wnid,
        )
        for guess in one["predictions"]
    )
    below = tuple(_thumb(thumbs[fact["row"]], class_words(fact), fact["distance"]) for fact in one.get("nearest", ()))
    caption = f"{name}: {class_words(vars(right))}" if right is not None else name
    return Card(picture=array_picture(photo, f"the photo {name}", caption, PHOTO_PX), bars=bars, below=below)


def _thumb(image: Image, words: str, distance: float) -> Picture:
    return array_picture(image, f"a training photo of {words}", f"{words}, {distance:.2f} away", THUMB_PX)
