import re
from xml.etree import ElementTree

from vqgen.app.bars import Bar, bar_rows, mirrored_bars


def boxes(svg):
    return [element for element in ElementTree.fromstring(svg).iter() if element.tag == "rect"]


def test_bars_are_as_long_as_their_values():
    rows = bar_rows([Bar("a", 1.0, "100%"), Bar("b", 0.25, "25%", is_marked=True)], "title")
    assert re.findall(r"width: ([\d.]+)%", rows) == ["70.0", "17.5"]
    assert re.findall(r'<li class="vq-(\w+)">', rows) == ["plain", "marked"]


def test_texts_are_not_interpreted():
    rows = bar_rows([Bar("<b onclick='x'>", 1, "<u>")], '"><script>')
    assert "<b o" not in rows
    assert "<u>" not in rows
    assert "<script" not in rows
    assert ElementTree.fromstring(rows).get("aria-label") == '"><script>'


def test_chart_without_values_is_empty():
    assert "<li" not in bar_rows([], "none")
    assert boxes(mirrored_bars([], [], None, "none")) == []


def test_mirrored_bars_grow_from_the_axis_and_zeros_have_none():
    svg = mirrored_bars([2, 0, 1], [0.5, 0.25, 0.0], 2, "title")
    found = [(float(box.get("x")), float(box.get("y")), float(box.get("height"))) for box in boxes(svg)]
    assert len(found) == 4
    axis = 70
    above = [each for each in found if each[1] < axis]
    assert [y + height for _, y, height in above] == [axis, axis]
    assert above[0][2] == 2 * above[1][2]
    titles = [box.find("title").text for box in boxes(svg)]
    assert titles == ["code 0: 2", "code 2: 1", "code 0: 50.00%", "code 1: 25.00%"]
    assert ["accent" in box.get("fill") for box in boxes(svg)] == [False, True, False, False]
