"""What could not be tested here is counted where everybody looks: at the end."""

from __future__ import annotations

from typing import Any

import pytest

LOUD = "NOT TESTED"
"""How the reason of a skip begins that leaves a promise unproven."""


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Count the tests that were skipped for want of a program."""
    reasons = [_reason(report) for report in terminalreporter.stats.get("skipped", [])]
    loud = [reason for reason in reasons if LOUD in reason]
    if loud:
        terminalreporter.section(f"{len(loud)} tests of faults were skipped", red=True)
        for reason in sorted(set(loud)):
            terminalreporter.write_line(f"{loud.count(reason)} x {reason[reason.index(LOUD) :]}", red=True)


def _reason(report: pytest.TestReport) -> str:
    return report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
