"""Names of the environment variables that mark a run's processes."""

from __future__ import annotations

JOURNAL = "HEADRACE_JOURNAL"
"""Holds its journal's id in a run process: what that starts inherits it and can be found by it."""

CONSOLE = "HEADRACE_CONSOLE_FD"
"""Names the descriptor on which a worker shows what its runs log; unset: it does not."""

FOLDER = "HEADRACE_RUN_FOLDER"
"""Names the folder of the journal for a job's own ``command``."""
