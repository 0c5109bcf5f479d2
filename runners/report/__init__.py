"""Reports made from records alone: no torch, no simulator, no Hydra is imported here."""

from __future__ import annotations

from runners.report.load import RunFrames, load_run
from runners.report.summary import build_summary
from runners.report.terminal import format_table, print_report
from runners.report.write import write_report

__all__ = ["RunFrames", "build_summary", "format_table", "load_run", "print_report", "write_report"]
