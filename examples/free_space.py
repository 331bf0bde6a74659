"""Watch how full disks are: a deployment that workers carry out, on two schedules with parameters of their own.

    headrace server start --background
    headrace work-pool create machines
    python free_space.py
    headrace worker start --pool machines

Then it runs by itself, or when asked: ``headrace deployment run check-space/disks --param least_percent=50``.
"""

from __future__ import annotations

import shutil

from headrace import flow, get_run_logger
from headrace.schedules import Cron, Interval


class LowSpace(Exception):
    """A disk is nearly full."""


@flow(flow_run_name="{folder}")
def check_space(folder: str = "/", least_percent: float = 5.0) -> float:
    """Return how many percent of the disk of a folder are free.

    Args:
        folder: any folder on the disk
        least_percent: what has to be free

    Raises:
        LowSpace: less is free.
    """
    usage = shutil.disk_usage(folder)
    free = 100 * usage.free / usage.total
    get_run_logger().info("%s: %.1f %% of %.0f GB are free", folder, free, usage.total / 1e9)
    if free < least_percent:
        raise LowSpace(f"{folder} has {free:.1f} % left, and should have {least_percent:g} %")
    return free


if __name__ == "__main__":
    check_space.deploy(
        "disks",
        work_pool_name="machines",
        schedules=[
            Interval(900, parameters={"folder": "/"}, slug="root"),
            Cron(
                "30 6 * * MON-FRI",
                timezone="Europe/Berlin",
                parameters={"folder": "/tmp", "least_percent": 20},
            ),
        ],
        concurrency_limit=1,
        tags=["disks"],
    )
