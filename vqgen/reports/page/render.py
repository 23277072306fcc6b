"""The page as HTML: templates of Jinja2 filled with the content of a page. Every text is escaped."""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from vqgen.reports.page.charts import Chart
from vqgen.reports.page.content import Page
from vqgen.storage.names import shown_lines

if TYPE_CHECKING:
    from jinja2 import Environment

DIGEST = "vqgen-digest"
"""Name of the meta element that holds the digest of a page."""


def render_page(page: Page) -> str:
    """Returns the HTML of a page: one file that needs no other file, no script and no network."""
    return _environment().get_template("page.html").render(page=page, digest_name=DIGEST)


def render_charts(charts: Sequence[Chart]) -> str:
    """Returns the HTML of charts alone, for another page, which has the style sheet."""
    macro = '{% from "chart.html" import render_chart %}{% for chart in charts %}{{ render_chart(chart) }}{% endfor %}'
    return _environment().from_string(macro).render(charts=charts)


@cache
def _environment() -> "Environment":
    # Imported here, because a stage of a run that ends without a report, and every other command, do without it.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # Names of labels, files and recipes come from strangers: whatever the name of a template, texts are escaped.
    environment = Environment(
        loader=PackageLoader("vqgen.reports.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # A lone surrogate is no UTF-8, and control signs are no HTML.
    environment.finalize = _printable
    return environment


def _printable(value: object) -> object:
    # `Markup` is a str, too: the content of templates themselves, which has no such signs.
    return shown_lines(value) if type(value) is str else value
