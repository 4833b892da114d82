"""From a run's folder to a table to publish: `results` reads, `result_tables` and `plots` show, `page` writes the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gemoclap.starting import imported_later

if TYPE_CHECKING:
    from gemoclap.reports.evaluation import write_scores
    from gemoclap.reports.joined import collect_together
    from gemoclap.reports.page import write_report
    from gemoclap.reports.records import Results
    from gemoclap.reports.result_tables import print_table
    from gemoclap.reports.results import collect

__all__ = ["Results", "collect", "collect_together", "print_table", "write_report", "write_scores"]

# scikit-learn and scipy.stats are imported only with a report that needs them: `gemoclap timeline` starts without.
__getattr__ = imported_later(
    __name__,
    {
        "Results": "gemoclap.reports.records",
        "collect": "gemoclap.reports.results",
        "collect_together": "gemoclap.reports.joined",
        "print_table": "gemoclap.reports.result_tables",
        "write_report": "gemoclap.reports.page",
        "write_scores": "gemoclap.reports.evaluation",
    },
)
