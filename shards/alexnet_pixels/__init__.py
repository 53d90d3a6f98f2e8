"""One source picture to 256x256 RGB: what the file is, how it decodes, how it is shrunk and cropped.

converted = convert(Path("photo.jpg").read_bytes(), PixelRecipe())
Path("photo-256.jpg").write_bytes(converted.jpeg)  # as a shard holds it
print(converted.kinds)  # what was unusual about the source, as ("cmyk", "gzip")
"""

# ruff: noqa: E402  that Pillow is missing is said before anything needs it
from alexnet_shards.extras import require

require("PIL.Image", "Pillow", "simd", "pillow")

from alexnet_pixels.convert import Converted, convert, shard_pixels
from alexnet_pixels.decoder import decoder_facts
from alexnet_pixels.recipe import FILTERS, PixelRecipe
from alexnet_pixels.sniff import BadImage, begins_as_picture

# Names for other rooms, and the modules that they may import from; everything else is private to the room.
__all__ = [
    "FILTERS",
    "BadImage",
    "Converted",
    "PixelRecipe",
    "begins_as_picture",
    "convert",
    "decoder_facts",
    "shard_pixels",
]
