"""The contract's facts as data: what an operation takes and answers, and whether a value is as they say."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

FACTS = json.loads((Path(__file__).parent / "facts.json").read_text())
ENDPOINTS: dict[str, Any] = FACTS["endpoints"]
SCHEMAS: dict[str, Any] = FACTS["schemas"]


def union(text: str) -> list[str]:
    """Split ``array<A | B> | null`` at the bars that are not within brackets."""
    parts, depth, part = [], 0, ""
    for token in re.split(r"( \| |[<>\[\]]|\"[^\"]*\")", text):
        depth += token in ("<", "[")
        depth -= token in (">", "]")
        if token == " | " and depth == 0:
            parts.append(part)
            part = ""
        else:
            part += token
    return [*parts, part]


def inner(text: str) -> str:
    """Return what stands between the outer brackets: ``A | B`` of ``array<A | B>``."""
    return text[text.index("<") + 1 : -1]


def misfit(text: str, value: Any, where: str = "$") -> str | None:
    """Say why a value is not of a type as the facts write it; ``None`` when it is."""
    reasons = [_misfit(part, value, where) for part in union(text)]
    return None if any(reason is None for reason in reasons) else "; ".join(filter(None, reasons))


def _misfit(text: str, value: Any, where: str) -> str | None:
    if text in SCHEMAS:
        return _misfit_schema(SCHEMAS[text], value, where)
    if text.startswith("array<"):
        return _first(
            [f"{where} is no list"] if not isinstance(value, list) else [],
            [misfit(inner(text), each, f"{where}[{n}]") for n, each in enumerate(value)]
            if isinstance(value, list)
            else [],
        )
    if text.startswith("map<"):
        if not isinstance(value, dict):
            return f"{where} is no object"
        return _first([misfit(inner(text), each, f"{where}.{name}") for name, each in value.items()])
    if text.startswith(("enum ", "const ")):
        allowed = json.loads(text.split(" ", 1)[1])
        return None if value == allowed or value in allowed else f"{where} is {value!r}, not {allowed}"
    return None if _PLAIN[text](value) else f"{where} is {value!r}, not {text}"


def _misfit_schema(schema: dict[str, Any], value: Any, where: str) -> str | None:
    if "enum" in schema:
        return None if value in schema["enum"] else f"{where} is {value!r}"
    if not isinstance(value, dict):
        return f"{where} is no object"
    fields = schema.get("fields", {})
    missing = [name for name in fields if name not in value]
    if missing:
        return f"{where} lacks {', '.join(missing)}"
    return _first([misfit(field["type"], value[name], f"{where}.{name}") for name, field in fields.items()])


def _first(*lists: list[str | None]) -> str | None:
    return next((reason for reasons in lists for reason in reasons if reason is not None), None)


def _is(convert: Any) -> Any:
    def check(value: Any) -> bool:
        try:
            convert(value)
        except (ValueError, TypeError, AttributeError):
            return False
        return isinstance(value, str)

    return check


_PLAIN: dict[str, Any] = {
    "any": lambda _: True,
    "null": lambda value: value is None,
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "object": lambda value: isinstance(value, dict),
    "string(uuid)": _is(UUID),
    "string(date-time)": _is(lambda text: datetime.fromisoformat(text.replace("Z", "+00:00"))),
}
