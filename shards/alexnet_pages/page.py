"""A page as one HTML file: template, style, the charts' library and all data in it, so that it asks no other host."""

import json
import os
import time
from pathlib import Path

from alexnet_pages.blocks import Block, Chart, Page, Row
from alexnet_pages.library import chart_library
from alexnet_shards.errors import AlexnetError, FileError
from alexnet_shards.extras import MissingLibraryError, require
from alexnet_shards.files import output_path, write_atomic

TEMPLATE = Path(__file__).parent / "page.html.j2"
MAX_PAGE_BYTES = 6_000_000


class PageError(AlexnetError):
    """A page that cannot be made."""


def can_draw() -> bool:
    """Whether the extra `report`, which pages need, is installed."""
    try:
        _require_libraries()
    except MissingLibraryError:
        return False
    return True


def check_page(path: Path) -> Path:
    """`path`, where a page can be drawn and written there; for who must know before hours of work.

    Raises MissingLibraryError without the extra `report`, FileError where it is no .html or cannot be written.
    """
    _require_libraries()
    if path.suffix != ".html":
        raise FileError(f"{path}: a page's name ends in .html; name another, or put the option behind the other words")
    output_path(path)
    if not os.access(path.parent, os.W_OK):
        raise FileError(f"{path}: cannot be written (no such folder, or read-only); name another with --html FILE")
    return path


def render_page(page: Page, made_at: str) -> str:
    """The HTML of a page. Everything in it is data: markup in names is shown, not followed.

    Raises MissingLibraryError where the extra `report` is not installed.
    """
    _require_libraries()
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string(TEMPLATE.read_text())
    charts = [chart for section in page.sections for block in section.blocks for chart in _charts_of(block)]
    library = chart_library() if charts else ""
    specs = [_script_json(chart.spec) for chart in charts]
    return template.render(page=page, made_at=made_at, library=library, specs=specs, kind=_kind)


def write_page(path: Path, page: Page) -> int:
    """Write a page beside its place, then rename it; returns its bytes.

    Raises PageError where it would be larger than a mail takes, MissingLibraryError without the extra `report`, and
    FileError where it cannot be written.
    """
    content = render_page(page, time.strftime("%Y-%m-%d %H:%M:%S %Z")).encode("utf-8", "backslashreplace")
    if len(content) > MAX_PAGE_BYTES:
        raise PageError(
            f"{path}: the page has {len(content):,} bytes; expected at most {MAX_PAGE_BYTES:,}: show fewer pictures"
        )
    write_atomic(path, content)
    return len(content)


def _require_libraries() -> None:
    require("jinja2", "jinja2", "report")
    require("vl_convert", "vl-convert-python", "report")


def _charts_of(block: Block) -> tuple[Chart, ...]:
    if isinstance(block, Row):
        return tuple(chart for each in block.blocks for chart in _charts_of(each))
    return (block,) if isinstance(block, Chart) else ()


def _kind(block: Block) -> str:
    return type(block).__name__.lower()


def _script_json(value: object) -> str:
    """JSON that may stand in a script element: nothing in it can end the element."""
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c").replace("\u2028", "\\u2028")
