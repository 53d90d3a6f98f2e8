"""What a page is made of: columns of numbers, anchors, and rows of one length."""

import pytest

from alexnet_pages import Section, Table


def test_columns_of_numbers_are_known() -> None:
    table = Table(header=("a", "b", "c", "d"), rows=(("x", "1", "-2.5", ""), ("1x", "", "+3", "")))
    assert table.numeric == (False, True, True, True)
    assert Table(header=("a",), rows=()).numeric == (False,)


def test_rows_have_as_many_cells_as_the_header() -> None:
    with pytest.raises(ValueError, match=r"rows of \[1, 2\] cells"):
        Table(header=("a", "b"), rows=(("1",),))


def test_anchors_are_plain() -> None:
    assert Section(title="What training does, to a <picture>", blocks=()).anchor == "what-training-does-to-a-picture"
