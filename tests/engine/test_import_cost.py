"""Importing headrace loads little: the rest of the engine comes with the first run."""

from __future__ import annotations

import subprocess
import sys

_LATER = ("msgspec", "logging", "pathlib", "hashlib", "random", "asyncio", "pydantic", "httpx", "sqlalchemy")


def _loaded_by(code: str) -> set[str]:
    """Return which of the modules that may come later a fresh interpreter has after ``code``."""
    told = f"import sys\n{code}\nprint(*(name for name in {_LATER!r} if name in sys.modules))"
    # -S: packages of the environment may be set up by code of their own that loads half the library.
    path = f"import sys; sys.path[:0] = {[entry for entry in sys.path if entry]!r}\n"
    ended = subprocess.run(
        [sys.executable, "-S", "-c", path + told], capture_output=True, text=True, check=True, timeout=50
    )
    return set(ended.stdout.split())


def test_importing_flow_and_task_loads_no_encoder_no_logging_and_no_library() -> None:
    """Whoever imports a module with flows in it pays for what decorators need, not for a run."""
    loaded = _loaded_by("from headrace import flow, task")

    assert set() == loaded


def test_a_run_without_parameters_loads_no_event_loop_and_no_http_or_database_library() -> None:
    """A plain script's run process stays small."""
    code = (
        "import os; os.environ['HEADRACE_RECORD'] = '0'\n"
        "from headrace import flow\nassert flow(lambda: 1, name='one')() == 1"
    )

    assert not {"asyncio", "pydantic", "httpx", "sqlalchemy"} & _loaded_by(code)
    assert "msgspec" in _loaded_by(code)
