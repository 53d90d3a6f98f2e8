"""Tables as plain lines, whole at every width: on a narrow screen the widest column folds, then rows stand as lists."""

import os
import shutil
import sys
from collections.abc import Sequence

from rich.cells import cell_len, chop_cells

from alexnet_shards.shown import shown

GAP = "  "
MIN_FOLD_CELLS = 16
MIN_BAR_CELLS, MAX_BAR_CELLS = 4, 24


def table_lines(
    title: str, header: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None
) -> list[str]:
    """`rows` of cells under `header`, numbers to the right; `width` in character cells, None for the screen's.

    Cells are data: they are shown as they are, what cannot be seen escaped.
    """
    width = screen_cells() if width is None else width
    grid = [list(header), *([shown(cell) for cell in row] for row in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*grid, strict=True)]
    right = [all(_is_number(cell) for cell in column[1:]) for column in zip(*grid, strict=True)]
    lines = [title] if title else []
    spare = width - sum(widths) - len(GAP) * (len(widths) - 1)
    if spare < 0:
        widest = max(range(len(widths)), key=lambda place: -1 if right[place] else widths[place])
        widths[widest] += spare
        if right[widest] or widths[widest] < max(MIN_FOLD_CELLS, cell_len(header[widest])):
            return lines + _records(header, grid[1:], width)
    for row in grid:
        lines += _row_lines(row, widths, right)
    return lines


def pair_lines(pairs: Sequence[tuple[str, str]], width: int | None = None) -> list[str]:
    """A name and its value a line, values below one another, long ones folded."""
    width = screen_cells() if width is None else width
    names = max((cell_len(name) for name, _ in pairs), default=0)
    lines = []
    for name, value in pairs:
        parts = fold(shown(value), max(MIN_FOLD_CELLS, width - names - len(GAP)))
        lines += [f"{_padded('' if place else name, names, False)}{GAP}{part}" for place, part in enumerate(parts)]
    return lines


def screen_cells() -> int:
    """Columns of the screen that stdout is, or that COLUMNS names; unbounded in a pipe or file."""
    if (sys.stdout is not None and sys.stdout.isatty()) or os.environ.get("COLUMNS", "").isdecimal():
        return max(20, shutil.get_terminal_size().columns)
    return 1 << 20


def bar_text(share: float, width: int | None = None) -> str:
    """A share, 0..1, as a bar of characters, in a fifth of `width` (the screen's), at most MAX_BAR_CELLS; "" for none.

    In blocks and eighths of them where stdout can show these, else in #.
    """
    cells = min(MAX_BAR_CELLS, max(MIN_BAR_CELLS, (screen_cells() if width is None else width) // 5))
    share = min(1.0, max(0.0, share))
    if not (getattr(sys.stdout, "encoding", None) or "").lower().startswith("utf"):
        return "#" * round(share * cells)
    whole, eighths = divmod(round(share * cells * 8), 8)
    return "\u2588" * whole + (chr(0x2590 - eighths) if eighths else "")


def fold(text: str, cells: int) -> list[str]:
    """`text` in lines of at most `cells` character cells, broken at spaces where there are any; nothing is lost."""
    lines, line = [], ""
    for word in text.split(" "):
        joined = f"{line} {word}" if line else word
        if cell_len(joined) <= cells:
            line = joined
            continue
        if line:
            lines.append(line)
        *whole, line = chop_cells(word, cells) or [""]
        lines += whole
    return [*lines, line]


def _row_lines(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> list[str]:
    columns = [fold(cell, cells) for cell, cells in zip(row, widths, strict=True)]
    lines = []
    for number in range(max(map(len, columns))):
        parts = (column[number] if number < len(column) else "" for column in columns)
        padded = (_padded(part, cells, to_right) for part, cells, to_right in zip(parts, widths, right, strict=True))
        lines.append(GAP.join(padded).rstrip())
    return lines


def _records(header: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    lines: list[str] = []
    for row in rows:
        pairs = [(name, cell) for name, cell in zip(header, row, strict=True) if cell]
        lines += ["", *pair_lines(pairs, width)]
    return lines[1:]


def _padded(text: str, cells: int, to_right: bool) -> str:
    space = " " * (cells - cell_len(text))
    return space + text if to_right else text + space


def _is_number(cell: str) -> bool:
    return not cell or cell[0].isdecimal() or (cell[0] in "+-" and cell[1:2].isdecimal())
