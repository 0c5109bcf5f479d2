"""Counts the SIMPLER tests that were skipped, and fails a run that had their assets all the same.

A skipped test looks like a passed one in a long run. Where the assets are there, every SIMPLER test has to run: a
package that cannot be imported, or a mark that went wrong, must not turn them all off in silence.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from runners.assets.maniskill import MANISKILL_PACK

FOLDER = "tests/envs/simpler/"
MARK = "simpler"
#: Skips that the assets do not answer for: other reference data, or what only some packs have.
ALLOWED = ("VLACACHE_ORACLES_DIR", "these assets")


def has_assets() -> bool:
    """Whether ``VLACACHE_ASSETS_DIR`` names a place with SIMPLER's assets."""
    place = os.environ.get("VLACACHE_ASSETS_DIR")
    if not place:
        return False
    folder = Path(place)
    unpacked = any(map(MANISKILL_PACK.is_folder, (folder, folder / MANISKILL_PACK.folder)))
    return unpacked or (folder / MANISKILL_PACK.pack).is_file()


def is_simpler(report: Any) -> bool:
    """Whether a report is of a SIMPLER test, or of a file of them that could not be collected."""
    return report.nodeid.startswith(FOLDER) or MARK in getattr(report, "keywords", ())


def unwanted(skipped: Iterable[Any]) -> list[str]:
    """``node id: reason`` of the skips that are not ``ALLOWED``."""
    reasons = [(report.nodeid, str(report.longrepr[-1]).removeprefix("Skipped: ")) for report in skipped]
    return [f"{node}: {reason}" for node, reason in reasons if not any(word in reason for word in ALLOWED)]


def _skipped(config: pytest.Config) -> list[Any]:
    """Of the whole run: under xdist the controller has the reports of all workers, a worker has no terminal."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    return [] if terminal is None else [report for report in terminal.stats.get("skipped", []) if is_simpler(report)]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run when SIMPLER tests were skipped that could have run."""
    if (
        has_assets()
        and unwanted(_skipped(session.config))
        and session.exitstatus in (0, pytest.ExitCode.NO_TESTS_COLLECTED)
    ):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """One line: how many SIMPLER tests ran and were skipped; the reasons when that is a failure."""
    ran = sum(
        is_simpler(r) and r.when == "call"
        for name in ("passed", "failed")
        for r in terminalreporter.stats.get(name, [])
    )
    skipped = _skipped(config)
    if ran or skipped:
        terminalreporter.write_line(f"SIMPLER tests: {ran} ran, {len(skipped)} skipped")
    if has_assets():
        for line in unwanted(skipped):
            terminalreporter.write_line(f"SIMPLER's assets are there, yet skipped: {line}", red=True)
