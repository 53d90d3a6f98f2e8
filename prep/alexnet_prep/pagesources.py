"""What was odd in a source, as pictures: damaged ones beside their patches, dropped and converted ones, before and after."""

import io
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from alexnet_pages import Gallery, Picture, Text
from alexnet_pages.pictures import array_picture, jpeg_picture
from alexnet_pixels import BadImage, PixelRecipe, convert
from alexnet_prep.archive import LOCATION_DTYPE, read_flat_tar, read_nested_tar
from alexnet_prep.errors import SourceError
from alexnet_prep.reader import SourceReader
from alexnet_prep.split import SplitSource
from alexnet_shards import AlexnetError
from alexnet_shards.editions import EDITIONS
from alexnet_shards.manifest import Manifest

THUMBNAIL_PX = 160
MAX_PICTURES = 8  # of each kind
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
            patched = [rows[key] for key in _known(report.get("patched", []), rows)]
            yield from self._gallery("Damaged pictures, each beside its patch", self._patched(patched, reader))
            dropped = {entry["key"]: entry["reason"] for entry in report.get("dropped", [])}
            yield from self._gallery("Dropped", self._dropped(dropped, rows, reader))
            for kind, keys in report.get("converted", {}).items():
                chosen = [rows[key] for key in _known(keys, rows)]
                title = f"{kind.replace('_', ' ')}: as another program shows it, and as it stands in the shard"
                yield from self._gallery(title, self._converted(chosen, reader))
        finally:
            reader.close()

    def _gallery(self, caption: str, pictures: Iterator[Picture]) -> Iterator[Text | Gallery]:
        found = tuple(pictures)
        if found:
            yield Gallery(pictures=found, side_px=THUMBNAIL_PX, caption=caption)

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

    def _converted(self, rows: list[int], reader: SourceReader) -> Iterator[Picture]:
        for row in rows[: MAX_PICTURES // 2]:
            content, key = self._read(reader, row), self.source.key(row)
            yield self._before(content, f"{key}, before")
            try:
                yield jpeg_picture(convert(content, self.recipe).jpeg, f"{key} in the shard", f"{key}, after")
            except BadImage as error:
                yield _blank(f"{key}: {error}")

    def _read(self, reader: SourceReader, row: int, place: np.void | None = None) -> bytes:
        place = self.source.locations[row] if place is None else place
        where = (int(place["offset"]), int(place["size"]))
        try:
            return reader.read(int(place["container"]), bytes(self.source.names[row]), *where)
        except SourceError:
            return b""

    def _unpatched(self) -> dict[bytes, np.void]:
        """Where images lie in the split's own archive, by name, whatever a patch replaced."""
        edition = next((e for e in EDITIONS.values() if e.year == self.source.edition), None)
        if edition is None:
            return {}
        archive = self.source.containers[0]
        read = read_nested_tar if self.source.split == "train" else read_flat_tar
        members = read(archive, 0, lambda count: None)
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
        return array_picture(np.asarray(image), caption, caption, THUMBNAIL_PX * 2)

    def _partly(self, content: bytes, caption: str) -> Picture:
        try:
            kept = convert(content, PixelRecipe(keep_truncated=True))
        except (BadImage, AlexnetError):
            return _blank(caption)
        return jpeg_picture(kept.jpeg, caption, caption)


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
