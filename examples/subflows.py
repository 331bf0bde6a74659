"""Split work into subflows, and decide in the parent what a failed one means.

Each region's import is a flow run of its own, with its own state, logs and tasks. One region sends bad data:
its run is Failed, and the night as a whole is Completed, because the parent says that it may be.

    python subflows.py
"""

from __future__ import annotations

import csv
import io

from headrace import flow, get_run_logger, task

DELIVERIES = {
    "north": "order,amount\n1001,19.90\n1002,7.25\n",
    "south": "order,amount\n2001,twelve\n",
    "west": "order,amount\n3001,120.00\n",
}


class BadDelivery(Exception):
    """A region's file cannot be used."""


@task
def total_of(text: str) -> float:
    """Return the sum of the amounts."""
    rows = list(csv.DictReader(io.StringIO(text)))
    try:
        return sum(float(row["amount"]) for row in rows)
    except (KeyError, ValueError) as error:
        raise BadDelivery(f"{len(rows)} rows, and not every one has an amount") from error


@flow(flow_run_name="import-{region}")
def import_region(region: str, text: str) -> float:
    """Return what a region sold."""
    return total_of(text)


@flow
def nightly_import(deliveries: dict[str, str]) -> dict[str, float]:
    """Import every region; what one region does wrong is not the others' loss.

    Raises:
        BadDelivery: no region sent anything that can be used.
    """
    logger = get_run_logger()
    totals: dict[str, float] = {}
    for region, text in deliveries.items():
        try:
            totals[region] = import_region(region, text)
        except BadDelivery as error:
            logger.warning("%s is left out: %s, because of %s", region, error, error.__cause__)
    if not totals:
        raise BadDelivery("no region sent anything that can be used")
    logger.info("imported %s", totals)
    return totals


if __name__ == "__main__":
    print(nightly_import(DELIVERIES))
