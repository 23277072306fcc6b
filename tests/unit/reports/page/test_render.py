import html5lib
import pytest

from vqgen.reports.page.charts import Curve, draw_chart
from vqgen.reports.page.content import (
    Charts,
    Command,
    Fact,
    Facts,
    Gallery,
    Page,
    PictureRow,
    Section,
    StageLine,
    Stages,
    Table,
    Text,
)
from vqgen.reports.page.pictures import Picture
from vqgen.reports.page.render import render_charts, render_page

PIXEL = "data:image/png;base64,iVBORw0KGgo="


def page(text, refresh=None):
    """A page with every kind of block, and the text wherever a text can stand."""
    picture = Picture(PIXEL, 8, 8, text, text)
    chart = draw_chart(text, [Curve(text, [(1, 2.0), (2, 1.0)], 1, has_dots=True)], across=text, caption=text)
    blocks = [
        Text([text], text),
        Command(text),
        Table([text, text], [[text, text]], text),
        Table([text, text], [[text, text]], summary=text),
        Charts([chart]),
        Gallery([PictureRow(text, [picture, None])], text),
        Facts([Fact(text, [text], text)], [text]),
        Stages(text, [StageLine(text, "done", text)]),
    ]
    return Page(text, text, [Section(text, "only", blocks)], text, "digest", refresh)


def texts(element):
    return [text for each in element.iter() for text in (each.text, each.tail, *each.attrib.values()) if text]


@pytest.mark.parametrize(
    "evil",
    [
        "<img src=x onerror=alert(1)>",
        '" onload="alert(1)',
        "</style><script>alert(1)</script>",
        "'><svg/onload=alert(1)>",
        "{{ 7 * 7 }}",
        "&lt;b&gt;",
    ],
)
def test_no_text_is_taken_for_html(evil):
    text = render_page(page(evil))
    parsed = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(text)
    names = {each.tag for each in parsed.iter() if isinstance(each.tag, str)}
    assert "script" not in names
    assert not [name for each in parsed.iter() for name in each.attrib if str(name).startswith("on")]
    assert len(parsed.findall(".//img")) == 1
    assert sum(evil in found for found in texts(parsed)) >= 20


@pytest.mark.parametrize("odd", ["\udcf1", "\x00\x1b[31m", "\u202e"])
def test_signs_that_are_not_printed_become_escapes(odd):
    text = render_page(page(f"a{odd}b"))
    text.encode()
    assert odd not in text
    html5lib.HTMLParser(strict=True).parse(text)


def test_page_loads_itself_again_only_if_asked():
    assert 'http-equiv="refresh"' not in render_page(page("x"))
    assert '<meta http-equiv="refresh" content="10">' in render_page(page("x", refresh=10))


def test_page_forbids_the_browser_to_load_anything():
    assert "default-src 'none'" in render_page(page("x"))


def test_identifiers_are_unique():
    parsed = html5lib.parse(render_page(page("x")), namespaceHTMLElements=False)
    found = [each.attrib["id"] for each in parsed.iter() if "id" in each.attrib]
    assert len(found) == len(set(found))


def test_charts_alone_are_those_of_the_page():
    evil = "<img src=x onerror=alert(1)>"
    charts = [draw_chart(name, [Curve(evil, [(1, 2.0), (2, 1.0)], 1)]) for name in ("one", evil)]
    found = html5lib.parseFragment(render_charts(charts), namespaceHTMLElements=False)
    assert [each.text for each in found.iter("strong")] == ["one", evil]
    assert list(found.iter("img")) == []
    assert render_charts([]) == ""
