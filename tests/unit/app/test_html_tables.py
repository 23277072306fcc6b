from xml.etree import ElementTree

from vqgen.app.html_tables import html_table, paragraphs


def test_cells_keep_their_places():
    table = ElementTree.fromstring(html_table("A table", [["name", "size"], ["a", "1"], ["b", "2"]]))
    assert table.get("aria-label") == "A table"
    assert [cell.text for cell in table.iter("th")] == ["name", "size", "a", "b"]
    assert [cell.text for cell in table.iter("td")] == ["1", "2"]


def test_texts_are_not_interpreted():
    text = "<img src=x onerror=alert(1)>"
    for page in (html_table(text, [[text], [text, text]]), paragraphs(text)):
        assert "<img" not in page
    assert ElementTree.fromstring(paragraphs(text)).text == text


def test_each_text_is_a_paragraph():
    assert paragraphs("a", "b") == "<p>a</p><p>b</p>"
    assert paragraphs() == ""
