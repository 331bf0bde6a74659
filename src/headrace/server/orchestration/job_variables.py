"""Whether job variables fit the pool whose worker is to read them."""

from __future__ import annotations

from typing import Any

from headrace.errors import JobError
from headrace.model import jobs

from .parameters import misfits, schema_problem

Json = dict[str, Any]


def misfit(pool_type: str, template: Json, *variables: Json) -> str | None:
    """Say why no worker of a pool could use job variables, laid over each other; ``None`` when it could.

    It is the early word of two: values that refer to something are left to the worker, as is what only all
    variables together show.
    """
    given: Json = {}
    for each in variables:
        given = jobs.laid_over(given, each)
    given = {name: value for name, value in given.items() if not jobs.refers(value)}
    if pool_type == "process":
        try:
            jobs.check(given)
        except JobError as error:
            return str(error)
    schema = template.get("variables") or {}
    if not given or not schema or schema_problem(schema) is not None:
        return None
    return "; ".join(misfits(schema, _without_nulls(schema, given), partly=True)) or None


def _without_nulls(schema: Json, given: Json) -> Json:
    """Leave out what is null and has a default: it says that the default is wanted."""
    rules = schema.get("properties")
    defaults = {n for n, rule in rules.items() if "default" in rule} if isinstance(rules, dict) else set()
    return {name: value for name, value in given.items() if value is not None or name not in defaults}
