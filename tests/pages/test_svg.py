"""Charts as SVG files: whole, without a background, with both colours and what they show."""

from xml.etree import ElementTree

from alexnet_pages import chart_svg
from alexnet_pages.charts import bar_chart
from alexnet_pages.svg import DARK, LIGHT

SVG = "{http://www.w3.org/2000/svg}"


def test_a_chart_is_a_whole_file_for_light_and_dark() -> None:
    chart = bar_chart("Bars", 'two "bars" & <more>', [("a", 3.0), ("b<c", 4.5)], ("name", "times"))
    text = chart_svg(chart, 400)
    root = ElementTree.fromstring(text)
    assert root.get("aria-label") == 'two "bars" & <more>'
    style = root.find(f"{SVG}style")
    assert style is not None
    assert style.text is not None
    assert LIGHT in style.text.split("@media")[0]
    assert DARK in style.text.split("@media")[1]
    assert {"a", "b<c", "times"} <= {"".join(element.itertext()) for element in root.iter(f"{SVG}text")}
    assert not [one for one in root.iter(f"{SVG}rect") if one.get("fill") in ("white", "#fff", "#ffffff")]
