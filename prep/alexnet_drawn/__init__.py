"""A small, learnable source in the exact layout of the official archives, drawn; it knows nothing of the converter.

request = SampleRequest(directory=Path("sample"), classes=10, train_per_class=130)
facts = draw_source(request, lambda done, total: None)
print(facts.archives)  # bytes by file name
"""

# ruff: noqa: E402  that Pillow is missing is said before anything needs it
from alexnet_shards.extras import require

require("PIL.Image", "Pillow", "simd", "pillow")

from alexnet_drawn.sample import SampleFacts, SampleRequest, draw_source

# Names for other rooms, and the modules that they may import from; everything else is private to the room.
__all__ = ["SampleFacts", "SampleRequest", "draw_source"]
