"""The page: its title, its tabs and its looks."""

from pathlib import Path
from typing import Any

import gradio as gr
from gradio import themes

from vqgen.app import codes_tab, compress_tab, edit_tab, generate_tab, runs_tab
from vqgen.app.context import AppContext
from vqgen.app.edit_api import add_edit_endpoints
from vqgen.app.file_endpoints import add_file_endpoints
from vqgen.app.http_api import add_endpoints
from vqgen.app.uploads import escape

_TABS = {
    "Generate": generate_tab,
    "Compress": compress_tab,
    "Edit": edit_tab,
    "Codes": codes_tab,
    "Runs": runs_tab,
}
"""Label of each tab -> its module, whose `build(context)` fills it."""

_CACHE = (600, 3600)
"""Seconds between two looks at Gradio's copies of files, and seconds after which one is removed."""

_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif")

_FIXED_FONTS = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace")


def build_page(context: AppContext) -> gr.Blocks:
    """Builds the page of some models."""
    with gr.Blocks(title="vqgen", analytics_enabled=False, fill_width=True, delete_cache=_CACHE) as page:
        # First, because Gradio gives a name to the function of each button too, and numbers those that are taken.
        add_endpoints(context)
        add_edit_endpoints(context)
        add_file_endpoints(context)
        gr.HTML(f'<h1 class="vq-title">vqgen <small>{escape(", ".join(context.names))}</small></h1>')
        with gr.Tabs(elem_id="tabs"):
            for label, tab in _TABS.items():
                with gr.Tab(label, elem_id=f"tab-{label.lower()}"):
                    tab.build(context)
    return page


def page_style() -> dict[str, Any]:
    """Returns the looks of the page, for Gradio: fonts of the system, and the style sheet of this folder."""
    # Strings, and not fonts of Gradio: those of Google would be loaded from there.
    theme = themes.Default(primary_hue="indigo", secondary_hue="indigo", font=_FONTS, font_mono=_FIXED_FONTS)
    return {"theme": theme, "css_paths": Path(__file__).with_name("page.css")}
