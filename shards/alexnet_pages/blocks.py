"""What a page is made of: sections of text, pairs, tables, charts and pictures, all of them data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Names and values, each value below its name's neighbour."""

    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of cells under a header; `caption` says what they are. Columns of numbers stand to the right."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""

    def __post_init__(self) -> None:
        widths = {len(row) for row in self.rows} | {len(self.header)}
        if len(widths) != 1:
            raise ValueError(f"rows of {sorted(widths)} cells; expected as many as the header has")

    @property
    def numeric(self) -> tuple[bool, ...]:
        """For each column whether its cells are numbers."""
        columns = zip(*self.rows, strict=True) if self.rows else ((),) * len(self.header)
        return tuple(bool(column) and all(_is_number(cell) for cell in column if cell) for column in columns)


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart: its Vega-Lite `spec` (charts.py), what it shows in a sentence for who cannot see it, and its figures.

    `figures` are the same numbers as a table, folded below it: for the keyboard, for readers of screens, for copying.
    """

    title: str
    alt: str
    spec: Mapping[str, Any]
    figures: Table


@dataclass(frozen=True, kw_only=True)
class Commands:
    """What was typed, a line each."""

    lines: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture in the page: `uri` holds its bytes (pictures.py), `alt` says what it shows, `caption` stands below it."""

    uri: str
    alt: str
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Pictures side by side, as many in a row as there is room for, each about `side_px` wide, or, `even`, in squares."""

    pictures: tuple[Picture, ...]
    side_px: int = 128
    caption: str = ""
    even: bool = False


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A name and its share, 0..1, as a bar; `marked` ones are those that are right."""

    name: str
    share: float
    marked: bool = False


@dataclass(frozen=True, kw_only=True)
class Card:
    """A picture with bars below it, and small pictures below these."""

    picture: Picture
    bars: tuple[Bar, ...]
    below: tuple[Picture, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Cards:
    """Cards side by side."""

    cards: tuple[Card, ...]


@dataclass(frozen=True, kw_only=True)
class Row:
    """Blocks beside each other where there is room for it, each about `side_px` wide."""

    blocks: "tuple[Block, ...]"
    side_px: int = 420


Block = Text | Pairs | Table | Chart | Gallery | Cards | Commands | Row


@dataclass(frozen=True, kw_only=True)
class Section:
    """A headline and what stands under it."""

    title: str
    blocks: tuple[Block, ...]

    @property
    def anchor(self) -> str:
        """Its name in addresses."""
        return "-".join("".join(c if c.isalnum() else " " for c in self.title.lower()).split())


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page: its title, a sentence below it, and its sections in reading order."""

    title: str
    lead: str = ""
    sections: tuple[Section, ...] = ()


def _is_number(cell: str) -> bool:
    return cell[0].isdecimal() or (cell[0] in "-+−" and cell[1:2].isdecimal())
