"""A measured table: what it holds, how it is printed, and the dated files it is kept in."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from benchmarks.rounds import Spread, ratios, spread


@dataclass(frozen=True, kw_only=True)
class Column:
    """A figure: its key and title, and, where `better` says which is, how many times better ours is than each."""

    key: str
    title: str
    better: Literal["less", "more", ""] = ""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of the table: a line a contender. `values` are its figures round by round, or words, by column key."""

    key: str
    title: str
    note: str
    columns: tuple[Column, ...]
    ours: str
    values: Mapping[str, Mapping[str, Sequence[float] | str]]
    reasons: Mapping[str, str] = field(default_factory=dict)
    commands: Mapping[str, str] = field(default_factory=dict)

    def ratio(self, name: str, column: Column) -> Spread | None:
        """How many times better ours is by this column, round by round; None where that cannot be said."""
        theirs, ours = (self.values.get(who, {}).get(column.key, ()) for who in (name, self.ours))
        if not column.better or isinstance(theirs, str) or isinstance(ours, str) or not theirs or not ours:
            return None
        if 0 in theirs or 0 in ours:
            return None
        return ratios(theirs, ours) if column.better == "less" else ratios(ours, theirs)


def number_text(value: float) -> str:
    """Three digits that count, or all before the point."""
    if not math.isfinite(value):
        return "-"
    if value == 0 or 1e-3 <= abs(value) < 1000:
        return f"{value:.3g}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1e}"


def spread_text(found: Spread) -> str:
    """median [least..most]; of one figure that alone."""
    if found.least == found.most:
        return number_text(found.median)
    return f"{number_text(found.median)} [{number_text(found.least)}..{number_text(found.most)}]"


def table_lines(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table whose columns stand below each other."""
    widths = [max(len(row[place]) for row in (header, *rows)) for place in range(len(header))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in (header, *rows)
    ]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]


def part_lines(part: Part) -> list[str]:
    """A heading, the note, the table, and who could not be measured."""
    compared = [column for column in part.columns if column.better]
    header = [
        "",
        *(column.title for column in part.columns),
        *(f"ours x ({column.title})" for column in compared),
    ]
    rows = []
    for name, values in part.values.items():
        cells = [cell_text(values.get(column.key, ())) for column in part.columns]
        against = [None if name == part.ours else part.ratio(name, column) for column in compared]
        rows.append([name, *cells, *("" if found is None else spread_text(found) for found in against)])
    missing = [f"* {name}: {reason}" for name, reason in part.reasons.items()]
    return [
        f"## {part.title}",
        "",
        part.note,
        "",
        *table_lines(header, rows),
        *(["", "Not measured:", "", *missing] if missing else []),
    ]


def cell_text(values: Sequence[float] | str) -> str:
    """A word as it is, figures by their spread, nothing as nothing."""
    if isinstance(values, str) or not values:
        return str(values or "")
    return spread_text(spread(values))


@dataclass(frozen=True, kw_only=True)
class Result:
    """All parts, and what is true of the run: hardware, versions, load before and after, photos, the command."""

    facts: Mapping[str, Any]
    parts: tuple[Part, ...]

    def without(self, folders: Mapping[str, str]) -> "Result":
        """The same with a word for each folder in facts, reasons and commands: they are nobody else's."""

        def plain(words: Mapping[str, Any]) -> dict[str, Any]:
            return {name: masked(value, folders) for name, value in words.items()}

        parts = (replace(part, commands=plain(part.commands), reasons=plain(part.reasons)) for part in self.parts)
        return replace(self, facts=plain(self.facts), parts=tuple(parts))

    def lines(self) -> list[str]:
        """The page."""
        facts = [
            f"* {name}: {value if isinstance(value, str) else json.dumps(value)}" for name, value in self.facts.items()
        ]
        head = ["# Beside what people would use instead", "", HEAD, "", *facts, ""]
        body = [line for part in self.parts for line in (*part_lines(part), "")]
        commands = {f"{part.key}, {name}": command for part in self.parts for name, command in part.commands.items()}
        return [*head, *body, "## Commands", "", *(f"* {name}: `{command}`" for name, command in commands.items()), ""]

    def save(self, folder: Path, name: str) -> Path:
        """Write folder/NAME.md and .json; returns the page."""
        folder.mkdir(parents=True, exist_ok=True)
        page = folder / f"{name}.md"
        (folder / f"{name}.json").write_text(json.dumps(asdict(self), indent=1, allow_nan=True) + "\n")
        page.write_text("\n".join(self.lines()))
        return page


def masked(value: Any, folders: Mapping[str, str]) -> Any:
    """A text with words for folders, the longest first; anything else as it is."""
    for folder in sorted(folders, key=len, reverse=True) if isinstance(value, str) else ():
        value = value.replace(folder, folders[folder])
    return value


HEAD = (
    "Figures are medians over interleaved rounds, [least..most] in brackets; a ratio is of the two figures of one round, "
    "so that what slows the machine cancels, and above 1 ours is better."
)
