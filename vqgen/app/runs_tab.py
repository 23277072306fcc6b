"""The tab Runs: the run folders, the curves of a run while it trains, and its report."""

import html
import time
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.context import Context

from vqgen.app.context import MODEL_QUEUE, AppContext
from vqgen.app.faults import plain_errors
from vqgen.app.html_tables import html_table, paragraphs
from vqgen.app.run_list import REPORT, ListedRun, curves_stamp, find_run, list_runs, read_report, run_charts
from vqgen.app.uploads import escape
from vqgen.reports.page.render import render_charts
from vqgen.stages.report.run_folder import read_run
from vqgen.storage.names import shown

_SECONDS = 4
"""Seconds between two looks at the logs of a training."""


def build(context: AppContext) -> None:
    """Builds the tab."""
    views = RunViews(context)
    runs = list_runs(context.checkpoints)
    names = _choices(runs)
    stamp = gr.State(())
    with gr.Row():
        chosen = gr.Dropdown(names, value=names[0][1] if names else None, label="Run", min_width=260, scale=3)
        refresh = gr.Button("Refresh", size="sm", min_width=90, scale=0, elem_classes="vq-beside")
        write = gr.Button("Write the report", size="sm", min_width=150, scale=0, elem_classes="vq-beside")
        saved = gr.DownloadButton(
            "Save the report", size="sm", min_width=150, scale=0, elem_classes="vq-beside", interactive=False
        )
    listed = gr.HTML(_table(context.checkpoints, runs))
    curves = gr.HTML(elem_classes="vq-curves")
    report = gr.HTML()
    timer = gr.Timer(_SECONDS, active=False)

    private: dict[str, Any] = {"api_visibility": "private"}
    everything = [listed, curves, report, saved, stamp]
    refresh.click(views.choices, chosen, chosen, **private).success(views.all, chosen, everything, **private)
    chosen.input(views.all, chosen, everything, **private)
    write.click(views.write, chosen, [report, saved], **private, concurrency_id=MODEL_QUEUE, concurrency_limit=1)
    timer.tick(views.live, [chosen, stamp], [listed, curves, stamp], **private, show_progress="hidden")
    _follow_tab(timer, views, chosen, everything)


class RunViews:
    """The functions of the tab; each is called with the values of the page, and returns values of the page.

    Args:
        context: The root of the runs, and the folder for reports that are written anew.
    """

    def __init__(self, context: AppContext) -> None:
        self._context = context

    @property
    def _root(self) -> Path:
        return self._context.checkpoints

    @plain_errors
    def choices(self, chosen: str | None) -> Any:
        """Returns the runs to choose from; the choice stays if the run is still there."""
        names = _choices(list_runs(self._root))
        values = [value for _, value in names]
        return gr.Dropdown(names, value=chosen if chosen in values else values[0] if values else None)

    @plain_errors
    def all(self, chosen: str | None) -> tuple[str, str, str, gr.DownloadButton, tuple[int, ...]]:
        """Returns the list, and the curves and the report of the chosen run."""
        listed = _table(self._root, list_runs(self._root))
        if chosen is None:
            return listed, "", "", gr.DownloadButton(interactive=False), ()
        folder = find_run(self._root, chosen)
        stamp = curves_stamp(folder)
        return listed, _curves(folder), *self._shown(chosen, read_report(folder)), stamp

    @plain_errors
    def live(self, chosen: str | None, stamp: tuple[int, ...]) -> tuple[Any, Any, Any]:
        """Returns the list and the curves if the chosen run has written something since the last look."""
        if chosen is None:
            return gr.skip(), gr.skip(), gr.skip()
        folder = find_run(self._root, chosen)
        new = curves_stamp(folder)
        if list(new) == list(stamp):
            return gr.skip(), gr.skip(), gr.skip()
        return _table(self._root, list_runs(self._root)), _curves(folder), new

    @plain_errors
    def write(self, chosen: str | None) -> tuple[str, gr.DownloadButton]:
        """Writes the report of the chosen run into the folder of the page, and returns it; the run stays as it is."""
        from vqgen.stages.report.writing import write_report

        folder = find_run(self._root, chosen)
        path = write_report(folder, self._context.new_path("report.html"))
        return self._shown(folder.name, path.read_text(encoding="utf-8"))

    def _shown(self, name: str, report: str | None) -> tuple[str, gr.DownloadButton]:
        """Returns the frame of a report, and the button that saves it."""
        if report is None:
            return paragraphs("This run has no report yet; the button above writes one."), gr.DownloadButton(
                interactive=False
            )
        path = self._context.new_path(f"report-{name}.html")
        path.write_text(report, encoding="utf-8")
        title = escape(f"Report of {name}")
        frame = f'<iframe class="vq-report" title="{title}" sandbox="" srcdoc="{html.escape(report)}"></iframe>'
        return frame, gr.DownloadButton(value=str(path), interactive=True)


def _follow_tab(timer: gr.Timer, views: RunViews, chosen: gr.Dropdown, everything: list[Any]) -> None:
    """Shows the run when the tab is opened, and looks at its logs only while the tab is open."""
    tab = Context.block
    assert isinstance(tab, gr.Tab)
    tabs = tab.parent
    assert isinstance(tabs, gr.Tabs)

    def is_open(event: gr.SelectData) -> gr.Timer:
        return gr.Timer(active=event.value == tab.label)

    tabs.select(is_open, None, timer, api_visibility="private", show_progress="hidden", queue=False)
    tab.select(views.all, chosen, everything, api_visibility="private")


def _choices(runs: list[ListedRun]) -> list[tuple[str, str]]:
    return [(shown(run.name), run.name) for run in runs]


def _table(root: Path, runs: list[ListedRun]) -> str:
    if not runs:
        return paragraphs(f"There is no run folder in {root}. The command vqgen run digits makes one; then refresh.")
    rows = [[run.name, run.state, time.strftime("%d %b %H:%M", time.localtime(run.changed))] for run in runs]
    return html_table(f"Runs in {root}, the newest first", [["run", "state", "changed"], *rows])


def _curves(folder: Path) -> str:
    """Returns the curves of a run that trains, or has no report, which would show them too."""
    is_complete = read_run(folder).is_complete if any(folder.glob("*/stage.json")) else False
    if is_complete and (folder / REPORT).is_file():
        return ""
    charts = run_charts(folder)
    if not charts:
        return paragraphs("No training of this run has written a step yet.")
    return f'<div class="vq-charts">{render_charts(charts)}</div>'
