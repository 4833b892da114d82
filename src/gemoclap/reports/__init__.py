"""From a run's folder to a table to publish: `results` reads, `tables` and `plots` show, `page` writes the report."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gemoclap.reports.evaluation import write_scores
    from gemoclap.reports.joined import collect_together
    from gemoclap.reports.page import write_report
    from gemoclap.reports.records import Results
    from gemoclap.reports.results import collect
    from gemoclap.reports.tables import print_table

__all__ = ["Results", "collect", "collect_together", "print_table", "write_report", "write_scores"]

_HOMES = {
    "Results": "gemoclap.reports.records",
    "collect": "gemoclap.reports.results",
    "collect_together": "gemoclap.reports.joined",
    "print_table": "gemoclap.reports.tables",
    "write_report": "gemoclap.reports.page",
    "write_scores": "gemoclap.reports.evaluation",
}


def __getattr__(name: str) -> Any:
    """Import scikit-learn and scipy.stats only with a report that needs them: `gemoclap timeline` starts without."""
    if name not in _HOMES:
        raise AttributeError(f"module 'gemoclap.reports' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
