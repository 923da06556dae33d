"""The report of a check: one page that opens anywhere and asks nobody for anything."""

from gristmill.report.page import write_report

__all__ = ["write_report"]
