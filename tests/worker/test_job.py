"""A claim becomes an order, whatever its variables say."""

from __future__ import annotations

from typing import Any

from headrace.model.orders import Claim, DeploymentCode, Job, Order, PlannedRun, decode_order, encode_order
from headrace.worker.job import order_of


def claim(deployment: dict[str, Any] | None = None, **variables: Any) -> Claim:
    """Return a claim of a run with job variables."""
    run = PlannedRun("r", "calm-bay", "etl", job_variables=variables)
    code = DeploymentCode("d", "nightly", job_variables=deployment) if deployment is not None else None
    return Claim("j", 1, run, code)


def test_an_order_holds_the_job_of_pool_deployment_and_run() -> None:
    """And reads back from its file as it was."""
    given = claim({"timeout": 5, "env": {"A": "1"}}, timeout=6, **{"env.B": "{{ $SECRET }}"})
    order = order_of(given, {}, "w-1", {"SECRET": "hush"})

    assert order == Order(given, Job(env={"A": "1", "B": "{{ $SECRET }}"}, timeout=6.0), "w-1")
    assert decode_order(encode_order(order)) == order
    assert b"hush" not in encode_order(order)


def test_a_run_without_a_deployment_has_only_its_own_variables() -> None:
    """A run that was made by itself and given to a queue."""
    assert order_of(claim(timeout=6), {}, "w-1").job == Job(timeout=6.0)


def test_a_job_that_makes_no_sense_is_an_order_with_a_refusal() -> None:
    """So the run ends with the reason, and the worker goes on."""
    wrong = order_of(claim({"timeout": "soon"}), {}, "w-1")
    broken = order_of(claim({}), {"variables": 5}, "w-1")

    assert (wrong.job, broken.job) == (Job(), Job())
    assert wrong.refusal is not None and "timeout is 'soon'" in wrong.refusal
    assert broken.refusal is not None and "template" in broken.refusal
