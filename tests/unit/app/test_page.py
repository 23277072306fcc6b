import re
from pathlib import Path

import pytest

gr = pytest.importorskip("gradio", reason="vqgen[app] is not installed")

from vqgen.app import page as module  # noqa: E402
from vqgen.app.page import build_page, page_style  # noqa: E402


def test_fonts_come_from_the_system(context):
    theme = page_style()["theme"]
    assert theme._stylesheets == []
    assert "http" not in Path(module.__file__).with_name("page.css").read_text()


def test_page_has_its_tabs_and_functions(context, unchecked_annotations):
    page = build_page(context)
    tabs = [block.label for block in page.blocks.values() if isinstance(block, gr.Tab)]
    assert tabs[:5] == ["Generate", "Compress", "Edit", "Codes", "Runs"]
    names = set(page.get_api_info()["named_endpoints"])
    assert {"/models", "/generate", "/inpaint", "/compress", "/codes"} <= names
    assert not [name for name in names if re.search(r"_\d$", name)]
    assert not page.analytics_enabled


def test_name_of_a_model_is_no_html(context, unchecked_annotations):
    context.models["<script>"] = context.models["tiny"]
    context._locks["<script>"] = context._locks["tiny"]
    page = build_page(context)
    texts = [block.value or "" for block in page.blocks.values() if isinstance(block, gr.HTML)]
    assert any("vq-title" in text for text in texts)
    assert not any("<script>" in text for text in texts)
