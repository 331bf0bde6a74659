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


def template_misfit(pool_type: str, template: Json) -> str | None:
    """Say which value that a pool's template itself gives no worker could use; ``None`` when there is none."""
    if pool_type != "process" or not template:
        return None
    rules = template["variables"].get("properties")
    rules = rules if isinstance(rules, dict) else {}
    defaults = {
        n: rule["default"] for n, rule in rules.items() if isinstance(rule, dict) and "default" in rule
    }
    try:
        for given in (template["job_configuration"], defaults):
            jobs.check(given)
    except JobError as error:
        return str(error)
    return None


def _without_nulls(schema: Json, given: Json) -> Json:
    """Leave out what is null and has a default: it says that the default is wanted."""
    rules = schema.get("properties")
    rules = rules if isinstance(rules, dict) else {}
    defaults = {n for n, rule in rules.items() if isinstance(rule, dict) and "default" in rule}
    return {name: value for name, value in given.items() if value is not None or name not in defaults}
