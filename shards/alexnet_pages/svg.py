"""A chart as an SVG file, for pages that cannot run a library: it follows the viewer's light or dark setting."""

from alexnet_pages.blocks import Chart
from alexnet_shards.extras import require

LIGHT, DARK = "#24292f", "#e6edf3"
STYLE = f"<style>text{{fill:{LIGHT}}}@media (prefers-color-scheme:dark){{text{{fill:{DARK}}}}}</style>"
CONFIG = {"view": {"stroke": None}, "axis": {"gridColor": "#88888855", "domainColor": "#888", "tickColor": "#888"}}


def chart_svg(chart: Chart, width_px: int) -> str:
    """The chart on no background, its texts light on dark; raises MissingLibraryError without the extra `report`."""
    require("vl_convert", "vl-convert-python", "report")
    import vl_convert

    svg: str = vl_convert.vegalite_to_svg({"background": None, "config": CONFIG, **chart.spec, "width": width_px})
    opening, _, rest = svg.partition(">")
    label = chart.alt.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return f'{opening} role="img" aria-label="{label}">{STYLE}{rest}\n'
