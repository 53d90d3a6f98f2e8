"""What was odd in a source, as pictures: damaged ones beside their patches, dropped and converted ones, before and after."""

import io
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from alexnet_pages import Gallery, Picture, Text
from alexnet_pages.pictures import array_picture
from alexnet_pixels import BadImage, PixelRecipe, shard_pixels
from alexnet_prep.archive import LOCATION_DTYPE
from alexnet_prep.errors import SourceError
from alexnet_prep.reader import SourceReader
from alexnet_prep.split import SplitSource
from alexnet_prep.unpacked import find_place, read_place
from alexnet_shards import AlexnetError
from alexnet_shards.editions import EDITIONS
from alexnet_shards.manifest import Manifest

THUMBNAIL_PX, PICTURE_PX = 150, 240  # as they are shown, and as they are kept
MAX_PICTURES = 8  # patched, and dropped
MAX_KINDS, MAX_OF_A_KIND = 30, 2  # of conversions
# What a decoder may find wrong with a picture that is shown as well as it can be.
SHOWING_ERRORS = (OSError, ValueError, TypeError, LookupError, ArithmeticError, SyntaxError, MemoryError, EOFError)


@dataclass(frozen=True, kw_only=True)
class OddSources:
    """The source of a split, opened to look at single images of it again, by key, and as they were before patches."""

    source: SplitSource
    recipe: PixelRecipe

    def blocks(self, manifest: Manifest) -> Iterator[Text | Gallery]:
        """Pictures of what the manifest's report lists: patched, dropped, and of each kind of conversion, a few each."""
        report = manifest.report
        rows = {bytes(key): row for row, key in enumerate(self.source.keys)}
        reader = SourceReader(self.source.containers, self.source.sparse, self.source.image_column)
        try:
            split, patched = manifest.split, [rows[key] for key in _known(report.get("patched", []), rows)]
            title = f"{split}: damaged pictures, each beside its patch ({len(patched):,} in all)"
            yield from self._gallery(title, self._patched(patched, reader))
            dropped = {entry["key"]: entry["reason"] for entry in report.get("dropped", [])}
            title = f"{split}: dropped, as far as anything of them can be shown ({len(dropped):,} in all)"
            yield from self._gallery(title, self._dropped(dropped, rows, reader))
            kinds = {
                kind.replace("_", " "): [rows[key] for key in _known(keys, rows)]
                for kind, keys in report.get("converted", {}).items()
            }
            title = f"{split}: converted, before as another program shows it, after as it stands in the shard"
            yield from self._gallery(title, self._converted(kinds, reader))
        finally:
            reader.close()

    def _gallery(self, caption: str, pictures: Iterator[Picture]) -> Iterator[Text | Gallery]:
        found = tuple(pictures)
        if found:
            yield Gallery(pictures=found, side_px=THUMBNAIL_PX, caption=caption, even=True)

    def _patched(self, rows: list[int], reader: SourceReader) -> Iterator[Picture]:
        damaged = self._unpatched() if rows else {}
        for row in rows[:MAX_PICTURES]:
            place = damaged.get(bytes(self.source.names[row]))
            if place is not None:
                yield self._before(self._read(reader, row, place), f"{self.source.key(row)}, damaged")
            yield self._before(self._read(reader, row), f"{self.source.key(row)}, its patch")

    def _dropped(
        self, dropped: Mapping[str, str], rows: Mapping[bytes, int], reader: SourceReader
    ) -> Iterator[Picture]:
        for key in list(dropped)[:MAX_PICTURES]:
            row = rows.get(key.encode("utf-8", "surrogateescape"))
            if row is not None:
                yield self._before(self._read(reader, row), f"{key}: {dropped[key]}")

    def _converted(self, kinds: Mapping[str, list[int]], reader: SourceReader) -> Iterator[Picture]:
        for kind, rows in list(kinds.items())[:MAX_KINDS]:
            for row in rows[:MAX_OF_A_KIND]:
                content, key = self._read(reader, row), self.source.key(row)
                yield self._before(content, f"{kind}, before: {key}")
                yield self._after(content, f"{kind}, after: {key}")

    def _after(self, content: bytes, caption: str) -> Picture:
        try:
            return array_picture(shard_pixels(content, self.recipe), caption, caption, PICTURE_PX)
        except BadImage as error:
            return _blank(f"{caption}: {error}")

    def _read(self, reader: SourceReader, row: int, place: np.void | None = None) -> bytes:
        place = self.source.locations[row] if place is None else place
        where = (int(place["offset"]), int(place["size"]))
        try:
            return reader.read(int(place["container"]), bytes(self.source.names[row]), *where)
        except SourceError:
            return b""

    def _unpatched(self) -> dict[bytes, np.void]:
        """Where images lie in the split itself, by name, whatever a patch replaced."""
        edition = next((e for e in EDITIONS.values() if e.year == self.source.edition), None)
        if edition is None:
            return {}
        first = self.source.containers[0]
        places = (find_place(edition, folder, self.source.split) for folder in (first.parent, first.parent.parent))
        place = next(filter(None, places), None)
        if place is None:
            return {}
        members = read_place(place, lambda count: None)
        return {
            bytes(name): place
            for name, place in zip(members.names, members.locations.astype(LOCATION_DTYPE), strict=True)
        }

    def _before(self, content: bytes, caption: str) -> Picture:
        """A source picture as a viewer would show it, whole, as far as it can be shown."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                file = Image.open(io.BytesIO(content))
                if file.width * file.height > self.recipe.max_pixels:
                    return _blank(caption)
                file.draft("RGB", (THUMBNAIL_PX, THUMBNAIL_PX))
                image = file.convert("RGB")
        except SHOWING_ERRORS:
            return self._partly(content, caption)
        image_hwc = np.asarray(image)
        if (image_hwc == image_hwc[0, 0]).all():  # it would be taken for one that the page could not show
            caption = f"{caption} (all of one colour)"
        return array_picture(image_hwc, caption, caption, PICTURE_PX)

    def _partly(self, content: bytes, caption: str) -> Picture:
        try:
            kept = shard_pixels(content, PixelRecipe(keep_truncated=True))
        except (BadImage, AlexnetError):
            return _blank(caption)
        return array_picture(kept, caption, caption, PICTURE_PX)


def _known(keys: list[str], rows: Mapping[bytes, int]) -> list[bytes]:
    encoded = (str(key).encode("utf-8", "surrogateescape") for key in keys)
    return [key for key in encoded if key in rows]


def _blank(caption: str) -> Picture:
    """For what cannot be shown: a grey field."""
    grey_hwc = np.full((THUMBNAIL_PX, THUMBNAIL_PX, 3), 128, np.uint8)
    grey_hwc[:: THUMBNAIL_PX // 8] = 144
    return array_picture(grey_hwc, f"{caption}: nothing of it can be shown", f"{caption} (nothing of it can be shown)")


def odd_sources(source: SplitSource, manifest: Manifest) -> OddSources:
    """The odd images of a split, read from its source again with the pixel recipe of its manifest."""
    recipe = PixelRecipe.from_dict(manifest.recipe) if manifest.recipe else PixelRecipe()
    return OddSources(source=source, recipe=recipe)


def check_same(source: SplitSource, manifest: Manifest, where: Path) -> None:
    """Raise SourceError unless the source in `where` has the images that the split was made from."""
    members = manifest.source.get("members")
    if members is not None and members != source.identity():
        raise SourceError(
            f"{where}: its {source.split} images are not those that the shards were made from; name the same source"
        )
