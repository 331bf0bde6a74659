"""Whether the parameters of a run fit the schema of its deployment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = Mapping[str, Any]

_SHOWN = 200
"""Characters of a reason that are told: it may hold the whole value."""


def schema_problem(schema: Json) -> str | None:
    """Say why something is no JSON schema that can be checked against; ``None`` when it is one."""
    try:
        _validator(schema)
    except ValueError as error:
        return _brief(str(error).splitlines()[0])
    return None


def misfits(schema: Json, parameters: Json, *, partly: bool = False) -> list[str]:
    """Return why parameters do not fit a schema, each reason naming its field; empty when they do.

    ``partly``: others are still to come, so nothing is missed. ``null`` fits where it is the default, as
    in ``def f(n: int = None)``.
    """
    wanted = {name: rule for name, rule in schema.items() if not (partly and name == "required")}
    problem = schema_problem(wanted)
    if problem is not None:
        return [f"the schema cannot be read: {problem}"]
    rules = schema.get("properties")
    nulls = _with_null_default(rules if isinstance(rules, Mapping) else {})
    given = {name: value for name, value in parameters.items() if value is not None or name not in nulls}
    return [_told(error) for error in _validator(wanted).iter_errors(given)]


def _validator(schema: Json) -> Any:
    from jsonschema_rs import Draft202012Validator  # here: 20 ms that only servers with deployments need

    return Draft202012Validator(dict(schema), retriever=_no_retrieval)


def _no_retrieval(uri: str) -> Any:
    # what somebody writes into a schema must not make the server ask other hosts or read files
    raise ValueError(f"it refers to {uri}, and only references within the schema are followed")


def _with_null_default(rules: Json) -> set[str]:
    return {
        name
        for name, rule in rules.items()
        if isinstance(rule, Mapping) and "default" in rule and rule["default"] is None
    }


def _told(error: Any) -> str:
    where = ".".join(str(part) for part in error.instance_path)
    return f"{where}: {_brief(error.message)}" if where else _brief(error.message)


def _brief(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
