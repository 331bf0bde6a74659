"""What could not be tested here is counted where everybody looks: at the end. Where all is required, it is a failure.

The tests' own plugin for that: it looks at the reports of the whole run, whichever process a test ran in.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest

LOUD = "NOT TESTED"
"""How the reason of a skip begins that leaves a promise unproven."""

REQUIRED = "HEADRACE_TEST_REQUIRE_ALL"
"""With it set, nothing of this may be left out: CI does so."""


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Let the run fail that left out what is required."""
    if exitstatus == pytest.ExitCode.OK and _is_required() and left_out(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say how many tests were left out, and why."""
    reasons = left_out(config)
    if not reasons:
        return
    terminalreporter.section(f"{sum(reasons.values())} tests could not be carried out here", red=True)
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"{count} x {reason}", red=True)
    if _is_required():
        terminalreporter.write_line(f"This run has failed by it: {REQUIRED} is set.", red=True)


def left_out(config: pytest.Config) -> Counter[str]:
    """Return how many tests were skipped loudly, by their reasons; none in a process that only carries tests out."""
    reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    reports = reporter.stats.get("skipped", []) if reporter is not None else []
    reasons = [_reason(report) for report in reports]
    return Counter(reason for reason in reasons if reason.startswith(LOUD))


def _is_required() -> bool:
    return os.environ.get(REQUIRED, "") not in ("", "0")


def _reason(report: pytest.TestReport) -> str:
    said = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return said.removeprefix("Skipped: ")
