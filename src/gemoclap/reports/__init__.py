"""From a run's folder to a table to publish: `results` reads, `tables` and `plots` show, `page` writes the report."""

from gemoclap.reports.evaluation import write_scores
from gemoclap.reports.joined import collect_together
from gemoclap.reports.page import write_report
from gemoclap.reports.records import Results
from gemoclap.reports.results import collect
from gemoclap.reports.tables import print_table

__all__ = ["Results", "collect", "collect_together", "print_table", "write_report", "write_scores"]
