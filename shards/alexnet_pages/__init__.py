"""Pages: figures, tables and pictures as one HTML file that needs no network to be looked at.

page = Page(title="Shards", sections=(Section(title="Account", blocks=(Table(header=("split",), rows=(("train",),)),)),))
write_page(Path("report.html"), page)
"""

from alexnet_pages.blocks import (
    Bar,
    Block,
    Card,
    Cards,
    Chart,
    Commands,
    Gallery,
    Page,
    Pairs,
    Picture,
    Row,
    Section,
    Table,
    Text,
)
from alexnet_pages.page import can_draw, check_page, write_page
from alexnet_pages.svg import chart_svg

# Names for other rooms, and the modules that they may import from; everything else is private to the room.
__all__ = [
    "Bar",
    "Block",
    "Card",
    "Cards",
    "Chart",
    "Commands",
    "Gallery",
    "Page",
    "Pairs",
    "Picture",
    "Row",
    "Section",
    "Table",
    "Text",
    "can_draw",
    "chart_svg",
    "charts",
    "check_page",
    "pictures",
    "write_page",
]
