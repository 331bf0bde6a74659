"""Figures that tests tell are shown at the end of the run, whichever process a test ran in.

``record_property("told", "1234 seeds without a violation")`` in a test.
"""

from __future__ import annotations

from typing import Any

NAME = "told"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Show what tests that passed have told."""
    lines = sorted(
        f"{report.nodeid}: {value}"
        for report in terminalreporter.stats.get("passed", [])
        for name, value in report.user_properties
        if name == NAME and report.when == "call"
    )
    if lines:
        terminalreporter.section("figures")
        for line in lines:
            terminalreporter.write_line(line)
