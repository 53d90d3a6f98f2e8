"""A page in a real browser: drawn, readable on both widths and in both schemes, silent, and its markup inert."""

from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import pytest

from alexnet_pages import (
    Bar,
    Card,
    Cards,
    Commands,
    Gallery,
    Page,
    Pairs,
    Picture,
    Row,
    Section,
    Table,
    Text,
    can_draw,
    write_page,
)
from alexnet_pages.charts import bar_chart, line_chart
from alexnet_pages.page import MAX_PAGE_BYTES, PageError, render_page
from alexnet_shards.extras import MissingLibraryError

DRAWN = "document.documentElement.dataset.drawn === 'yes'"
EVIL = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
PIXEL = Picture(uri="data:image/gif;base64,R0lGODlhAQABAAAAACw=", alt=EVIL, caption=EVIL)


def page_of(name: str) -> Page:
    blocks = (
        Text(text=name),
        Pairs(pairs=((name, name),)),
        Table(header=("name", "n"), rows=((name, "1"),), caption=name),
        Gallery(pictures=(PIXEL,), caption=name),
        Cards(cards=(Card(picture=PIXEL, bars=(Bar(name=name, share=0.5, marked=True),), below=(PIXEL,)),)),
        line_chart(name, name, {name: [(1.0, 2.0), (2.0, 3.0)]}, (name, "y")),
        Row(blocks=(bar_chart(name, name, [(name, 3.0)], (name, "b")), Table(header=(name,), rows=((name,),)))),
        Commands(lines=(name,)),
    )
    rest = tuple(
        Section(title=f"Part {n}", blocks=(bar_chart("Bars", "bars", [("x", 3.0)], ("a", "b")),)) for n in (2, 3)
    )
    return Page(title=name, lead=name, sections=(Section(title=name, blocks=blocks), *rest))


@pytest.mark.parametrize(("width_px", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_page_in_a_browser(
    tmp_path: Path, browser: SimpleNamespace, width_px: int, scheme: Literal["light", "dark"]
) -> None:
    """Names with markup in them are shown as they are, in text, charts and attributes."""
    path = tmp_path / "report.html"
    assert write_page(path, page_of(EVIL)) == path.stat().st_size
    with browser.opened(path.as_uri(), width_px, scheme, DRAWN) as seen:
        browser.check_self_contained(seen, path)
        assert seen.page.title() == EVIL
        assert seen.text("h1") == [EVIL]
        assert seen.page.locator(".chart svg").count() == 4
        assert [text.strip() for text in seen.text("pre")] == [EVIL]
        assert seen.text("section:first-of-type > .wide td") == [EVIL, "1"]
        assert seen.text(".card .name") == [f"{EVIL} ✓"]
        background = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(13, 17, 23)")
        seen.page.emulate_media(media="print")
        assert seen.page.locator("nav").is_hidden()
        ink = seen.page.evaluate("getComputedStyle(document.querySelector('.chart svg text')).fill")
        assert ink == "rgb(27, 31, 36)", "paper is white, whatever the screen is"
        seen.page.emulate_media(media="screen")
        seen.page.keyboard.press("Tab")
        assert seen.page.evaluate("document.activeElement.tagName") == "A", "the keyboard reaches the sections first"


def test_a_page_without_charts_carries_no_library(tmp_path: Path) -> None:
    page = Page(title="t", sections=(Section(title="s", blocks=(Text(text="x"),)),))
    assert len(render_page(page, "now")) < 10_000
    assert write_page(tmp_path / "r.html", page) < 10_000


def test_a_page_too_large_is_refused_and_the_old_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    big = Picture(uri="data:image/jpeg;base64," + "A" * MAX_PAGE_BYTES, alt="big")
    with pytest.raises(PageError, match="show fewer pictures"):
        write_page(path, Page(title="t", sections=(Section(title="s", blocks=(Gallery(pictures=(big,)),)),)))
    assert path.read_text() == "old"


def test_without_the_extra_the_command_to_install_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "vl_convert", None)
    assert not can_draw()
    with pytest.raises(MissingLibraryError, match=r"pip install '\.\[report\]'"):
        render_page(page_of("x"), "now")
