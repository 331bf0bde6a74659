"""States whose details JSON cannot hold are told all the same."""

from __future__ import annotations

from typing import Any

from headrace import State, flow
from headrace.states import Completed
from headrace.testing import headrace_test_harness


def test_a_state_with_details_that_hold_themselves_is_recorded_bare() -> None:
    """The end of a run is written even when what the user put beside it cannot be."""
    endless: dict[str, Any] = {}
    endless["itself"] = endless

    @flow
    def odd() -> State[None]:
        return Completed(message="done \udc80", state_details={"extra": endless})

    with headrace_test_harness() as harness:
        odd(return_state=True)

        (run,) = harness.flow_runs()
        assert run.state is not None
        assert (run.state.type, run.state.message) == ("COMPLETED", "'done \\udc80'")
