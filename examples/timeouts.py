"""Give a slow step a limit, and go on with what was known before when it passes.

python timeouts.py
"""

from __future__ import annotations

import subprocess
import sys

from headrace import flow, get_run_logger, task

LAST_KNOWN = {"forecast": "as yesterday"}


@task(timeout_seconds=0.5)
def slow_model() -> dict[str, str]:
    """Run a program that takes too long; at the limit the task is Failed, named TimedOut."""
    subprocess.run([sys.executable, "-c", "import time; time.sleep(20)"], check=True)
    return {"forecast": "new"}


@task
def publish(forecast: dict[str, str]) -> str:
    """Return the text that people read."""
    return f"Tomorrow: {forecast['forecast']}"


@flow(timeout_seconds=60)
def forecast() -> str:
    """Publish a forecast every day, with a new model's figures if they come in time."""
    state = slow_model(return_state=True)
    if state.name == "TimedOut":
        get_run_logger().warning("the model was too slow, the last known forecast stands: %s", state.message)
        return publish(LAST_KNOWN)
    return publish(state.result())


if __name__ == "__main__":
    print(forecast())
