"""A claim becomes an order: what to run, and how its process is set up, or why it cannot be."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import JobError
from ..model.jobs import job_of as job_of
from ..model.orders import Claim, Job, Json, Order


def order_of(claim: Claim, template: Json, worker: str, environ: Mapping[str, str] | None = None) -> Order:
    """Work out the order of a claim from its pool's template; ``environ`` is the worker's environment.

    It raises nothing: a job that makes no sense is an order with a refusal, so that the run ends with the reason.
    """
    own = claim.deployment.job_variables if claim.deployment is not None else {}
    try:
        job = job_of(template, own, claim.run.job_variables, environ=environ)
    except JobError as error:
        return Order(claim, Job(), worker, refusal=str(error))
    return Order(claim, job, worker)
