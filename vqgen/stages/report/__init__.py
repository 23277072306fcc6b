"""The report of a run: what its folder holds, as one page of HTML. `vqgen.reports.page` builds the page."""

from vqgen.stages.report.watching import watch_run
from vqgen.stages.report.writing import MOST_RUNS, REPORT, write_comparison, write_report

__all__ = ["MOST_RUNS", "REPORT", "watch_run", "write_comparison", "write_report"]
