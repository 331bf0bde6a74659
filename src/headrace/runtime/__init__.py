"""What is known of the running flow and task, as attributes: ``headrace.runtime.flow_run.id``.

Outside a run each attribute is ``None`` (tags and parameters are empty), so code that reads them can be
tested by itself. ``HEADRACE__RUNTIME__FLOW_RUN__ID=...`` in the environment sets one for a test.
"""

from . import deployment, flow_run, task_run

__all__ = ["deployment", "flow_run", "task_run"]
