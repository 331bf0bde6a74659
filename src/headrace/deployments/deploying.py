"""Have deployments kept in a work pool: ``flow.deploy``, ``deploy`` and what they share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from ..connect import connect
from ..engine.calling import here_or_awaited
from ..engine.recorder import current_settings
from ..errors import DeploymentError
from . import notices
from .runner import RunnerDeployment, put, require_pool

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..engine.deployable import Deployable, DeploymentOptions


def deploy(
    *deployments: Deployable,
    work_pool_name: str | None = None,
    image: Any = None,
    build: bool | None = None,
    push: bool | None = None,
    print_next_steps: bool = True,
    ignore_warnings: bool = False,  # noqa: ARG001  # the field's; there is no warning here
) -> list[UUID]:
    """Have several deployments kept, in the order given; return their ids (in async code: await it).

    ``work_pool_name`` is for those that name no pool themselves. Nothing is kept when a pool is missing.

    Raises:
        DeploymentError: there is no such pool, or an image is asked for.
        ApiError: the server refuses something; the text names the field.
    """
    refuse_image(image, build, push)
    several = [_checked(each, work_pool_name) for each in deployments]
    return here_or_awaited(lambda: keep(several, tell=print_next_steps))


async def adeploy(*deployments: Deployable, **options: Any) -> list[UUID]:
    """As :func:`deploy`, for async code."""
    return await asyncio.to_thread(_deploy_now, deployments, options)


def _deploy_now(deployments: tuple[Deployable, ...], options: dict[str, Any]) -> list[UUID]:
    return deploy(*deployments, **options)  # a thread has no loop: it does the work itself


def deploy_flow(
    flow: Any,
    name: str,
    *,
    work_pool_name: str | None,
    image: Any,
    build: bool | None,
    push: bool | None,
    print_next_steps: bool,
    **options: Unpack[DeploymentOptions],
) -> UUID:
    """Carry out :meth:`Flow.deploy`."""
    refuse_image(image, build, push)
    deployment = _checked(RunnerDeployment.from_flow(flow, name, work_pool_name, **options), None)
    return here_or_awaited(lambda: keep([deployment], tell=print_next_steps)[0])


def keep(deployments: list[RunnerDeployment], *, tell: bool) -> list[UUID]:
    """Have deployments kept over one connection; return their ids.

    Raises:
        DeploymentError: one of their pools is not there; then nothing is kept.
        ApiError: the server refuses one; those before it are kept.
    """
    with connect(current_settings()) as connection:
        for pool in dict.fromkeys(each.work_pool_name for each in deployments):
            require_pool(connection, cast(str, pool))
        ids = [put(connection, each) for each in deployments]
    if tell and deployments:
        notices.tell(notices.deployed(deployments))
    return ids


def refuse_image(image: Any, build: bool | None, push: bool | None) -> None:
    """Refuse what only container pools could do.

    Raises:
        DeploymentError: an image, or building or pushing one, is asked for.
    """
    if image is not None or build or push:
        raise DeploymentError(
            "image, build and push are for Docker and Kubernetes pools, which this release does not have. A process "
            "pool runs code from a folder or a git repository: leave them out."
        )


def _checked(deployment: Deployable, work_pool_name: str | None) -> RunnerDeployment:
    if not isinstance(deployment, RunnerDeployment):
        raise DeploymentError(
            f"{deployment!r} is no deployment. Make one with flow.to_deployment(name, ...)."
        )
    deployment.work_pool_name = deployment.work_pool_name or work_pool_name
    if not deployment.work_pool_name:
        raise DeploymentError(
            f"Deployment {deployment.full_name} names no work pool. Give work_pool_name=..., or use serve() to have this "
            "process carry out its runs."
        )
    return deployment
