"""Tables are whole at every width."""

import io

import pytest
from rich.cells import cell_len

from alexnet_command.tables import bar_text, fold, pair_lines, screen_cells, table_lines

HEADER = ("split", "images", "what is wrong")
ROWS = [("train", "1,281,167", "nothing at all that anybody would have to know of"), ("val", "5", "a[/b] [bold]")]


def test_a_wide_screen_shows_columns() -> None:
    assert table_lines("Shards", HEADER, ROWS, 200) == [
        "Shards",
        "split     images  what is wrong",
        "train  1,281,167  nothing at all that anybody would have to know of",
        "val            5  a[/b] [bold]",
    ]


@pytest.mark.parametrize("width", [200, 60, 50, 40, 36, 30, 20])
def test_nothing_is_cut_and_no_line_is_too_long(width: int) -> None:
    rows = [*ROWS, ("文字文字", "7", "文" * 40), ("x" * 30, "", "y" * 90)]
    lines = table_lines("", HEADER, rows, width)
    assert all(cell_len(line) <= max(width, 35) for line in lines)
    text = "".join("".join(lines).split())
    for row in rows:
        for cell in row:
            assert all(character in text for character in cell.replace(" ", ""))
    for number in ("1,281,167", "5", "7"):
        assert number in " ".join(lines)


def test_a_narrow_screen_shows_lists() -> None:
    assert table_lines("", ("shard", "images", "size"), [("a-very-long-name", "1,000,000", "33 MB")], 24) == [
        "shard   a-very-long-name",
        "images  1,000,000",
        "size    33 MB",
    ]


def test_hidden_characters_in_cells_are_escapes() -> None:
    assert table_lines("", ("key",), [("a\nb\x1b[2J\udce9",)], 80) == ["key", r"a\nb\x1b[2J\xe9"]


def test_pairs_stand_below_one_another() -> None:
    assert pair_lines([("a", "1"), ("long name", "x y " * 6)], 30) == [
        "a          1",
        "long name  x y x y x y x y x y",
        "           x y ",
    ]


def test_folding_loses_nothing() -> None:
    for cells in (1, 2, 3, 7, 100):
        for text in ("", "a", "one two three", "文字 and 文字", "x" * 50):
            if cells == 1 and "文" in text:
                continue
            lines = fold(text, cells)
            assert "".join(lines).replace(" ", "") == text.replace(" ", "")
            assert all(cell_len(line) <= cells for line in lines)


@pytest.mark.parametrize(("columns", "expected"), [("80", 80), ("50", 50), ("5", 20)])
def test_columns_names_the_width(columns: str, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert screen_cells() == expected


def test_a_pipe_is_unbounded(monkeypatch: pytest.MonkeyPatch, capsys: object) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert screen_cells() > 10_000


def test_bars_are_as_long_as_their_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eighths of a block in UTF-8, # elsewhere; never wider than a fifth of the screen, nor than 24."""
    for encoding, full in (("utf-8", "\u2588"), ("latin-1", "#")):
        monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding))
        for width in (20, 50, 80, 1 << 20):
            cells = min(24, max(4, width // 5))
            assert bar_text(1.0, width) == full * cells == bar_text(7.0, width)
            assert bar_text(0.0, width) == ""
            assert bar_text(0.5, width) == full * (cells // 2)
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), "utf-8"))
    assert [bar_text(eighths / 32, 20) for eighths in (1, 4, 7, 9)] == ["\u258f", "\u258c", "\u2589", "\u2588\u258f"]
