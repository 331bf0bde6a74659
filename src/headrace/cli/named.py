"""Find the work pool, work queue or deployment that a person names; a wrong name is answered with near ones."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence

from headrace.client import calls
from headrace.client.calls import Json
from headrace.client.connection import Connection
from headrace.errors import ObjectNotFound

from .exits import Refusal
from .pick import full_id

SCANNED = 1000
"""How many names a wrong one is compared with."""


def work_pool(connection: Connection, name: str) -> Json:
    """Return the work pool of a name.

    Raises:
        Refusal: there is none; the message tells near names.
    """
    try:
        return calls.work_pool(connection, name)
    except ObjectNotFound as error:
        known = [pool["name"] for pool in calls.work_pools(connection, limit=SCANNED)]
        raise Refusal(
            f"There is no work pool {name!r}.{near(name, known, 'headrace work-pool ls')} "
            f"`headrace work-pool create {_as_argument(name)}` makes it."
        ) from error


def work_queue(connection: Connection, text: str, pool: str | None) -> Json:
    """Return the work queue that ``text`` names: by id, or by name, in ``pool`` or in the only pool that has it.

    Raises:
        Refusal: it names none, or several; the message lists them, or near names.
    """
    id = full_id(text)
    wanted = {"id": {"any_": [id]}} if id is not None else {"name": {"any_": [text]}}
    if pool is not None:
        work_pool(connection, pool)
    found = calls.work_queues(connection, wanted, pool=pool, limit=SCANNED)
    if len(found) == 1:
        return found[0]
    if found:
        pools = ", ".join(sorted(queue["work_pool_name"] for queue in found))
        raise Refusal(f"Several pools have a work queue {text!r}: {pools}. Say which: -p POOL")
    known = [queue["name"] for queue in calls.work_queues(connection, pool=pool, limit=SCANNED)]
    where = f" of work pool {pool!r}" if pool is not None else ""
    raise Refusal(f"There is no work queue {text!r}{where}.{near(text, known, 'headrace work-queue ls')}")


def deployment(connection: Connection, text: str) -> Json:
    """Return the deployment that ``text`` names: ``FLOW/DEPLOYMENT``, an id, or a deployment's name that is the only one.

    Raises:
        Refusal: it names none, or several; the message lists them, or near names.
    """
    id = full_id(text)
    if id is not None:
        return _deployment_of_id(connection, id)
    flow, slash, name = text.partition("/")
    filters: Json = {"deployments": {"name": {"any_": [name if slash else text]}}}
    if slash:
        filters["flows"] = {"name": {"any_": [flow]}}
    found = calls.deployments(connection, filters, limit=SCANNED)
    if len(found) == 1:
        return found[0]
    if found:
        raise Refusal(
            f"Deployments of several flows are called {text!r}; say which: {', '.join(map(full_name, found))}"
        )
    raise _no_deployment(connection, text)


def _deployment_of_id(connection: Connection, id: str) -> Json:
    try:
        return calls.deployment(connection, id)
    except ObjectNotFound as error:
        raise Refusal(f"There is no deployment {id}. `headrace deployment ls` lists them.") from error


def _no_deployment(connection: Connection, text: str) -> Refusal:
    known = [full_name(each) for each in calls.deployments(connection, {}, limit=SCANNED)]
    if not known:
        return Refusal(
            f"There is no deployment {text!r}; there is none at all yet. `headrace deploy` makes one, and so does "
            "flow.deploy()."
        )
    if "/" not in text:
        # compared with what may stand for it, so that `nightl` finds `etl/nightly`
        by_name = {name.partition("/")[2]: name for name in known}
        close = difflib.get_close_matches(text, by_name, n=3)
        if close:
            return Refusal(
                f"There is no deployment {text!r}. Did you mean {' or '.join(by_name[c] for c in close)}?"
            )
    return Refusal(f"There is no deployment {text!r}.{near(text, known, 'headrace deployment ls')}")


def full_name(deployment: Json) -> str:
    """Return ``FLOW/DEPLOYMENT``."""
    return f"{deployment.get('flow_name') or '?'}/{deployment['name']}"


def schedule(deployment: Json, text: str | None) -> Json:
    """Return the schedule of a deployment that ``text`` names: by id, an end of it, or slug; ``None``: its only one.

    Raises:
        Refusal: it names none, or several; the message lists them.
    """
    planned = deployment["schedules"]
    part = (text or "").strip("….").lower()
    found = [
        each
        for each in planned
        if text is None
        or each.get("slug") == text
        or (len(part) >= 4 and (each["id"].startswith(part) or each["id"].endswith(part)))
    ]
    if len(found) == 1:
        return dict(found[0])
    name = full_name(deployment)
    if not planned:
        raise Refusal(f"{name} has no schedules. `headrace deployment schedule create` makes one.")
    ids = "\n".join(f"  {each['id']}  {each.get('slug') or ''}".rstrip() for each in found or planned)
    why = f"has {len(found)} schedules" if found else f"has no schedule {text!r}"
    raise Refusal(f"{name} {why}; say which by its id or slug:\n{ids}")


def near(text: str, known: Collection[str], command: str) -> str:
    """Return a sentence, after a space, with known names that are near to a wrong one, or how to list them."""
    found: Sequence[str] = difflib.get_close_matches(text, sorted(set(known)), n=3)
    return f" Did you mean {' or '.join(found)}?" if found else f" `{command}` lists them."


def _as_argument(name: str) -> str:
    import shlex  # only a wrong name needs it

    return shlex.quote(name)
