"""Our OpenAPI document says what the facts say: operations, parameters, fields, types, defaults, limits."""

from __future__ import annotations

import re
from functools import cache
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from headrace.server.app import create_app
from headrace.settings import load

from .facts import ENDPOINTS, FACTS, SCHEMAS, inner, union

LIMITS = {"minimum", "maximum", "exclusiveMinimum", "maxLength", "pattern", "minItems"}


@cache
def document() -> dict[str, Any]:
    """Return our OpenAPI document."""
    with TemporaryDirectory() as home:
        app = create_app(load({"HEADRACE_HOME": home}), services=False)
        app.state.context.database.close()
        return app.openapi()


def operation(name: str) -> dict[str, Any]:
    """Return our operation of a method and path."""
    method, path = name.split()
    return document()["paths"]["/api" + path][method.lower()]


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference."""
    while "$ref" in schema:
        schema = document()["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return schema


def parts(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the members of a union, flat."""
    schema = resolved(schema)
    return [part for each in schema["anyOf"] for part in parts(each)] if "anyOf" in schema else [schema]


def compare(text: str, ours: dict[str, Any], where: str, seen: set[str]) -> list[str]:
    """Return where our schema differs from a type as the facts write it."""
    members = parts(ours)
    problems = []
    for part in union(text):
        found = [compare_one(part, each, where, seen) for each in members]
        if found and all(found):
            problems.append(min(found, key=len)[0] if len(found) > 1 else found[0][0])
    if len(members) > len(union(text)) + (0 if "null" in union(text) else 1):
        problems.append(f"{where}: ours takes more kinds than {text}")
    return problems


def compare_one(text: str, ours: dict[str, Any], where: str, seen: set[str]) -> list[str]:
    """Return where one member of our union differs from one of theirs."""
    ours = resolved(ours)
    if text in SCHEMAS:
        return compare_schema(text, ours, where, seen)
    if text.startswith("array<"):
        if ours.get("type") != "array":
            return [f"{where}: no array"]
        return compare(inner(text), ours.get("items", {}), where + "[]", seen)
    if text.startswith("map<"):
        if ours.get("type") != "object":
            return [f"{where}: no map"]
        return compare(inner(text), ours.get("additionalProperties", {}), where + "{}", seen)
    return [] if plain_of(ours) in (plain(text), "any") else [f"{where}: {plain_of(ours)} is not {text}"]


def plain(text: str) -> str:
    """Return a plain type without the notes of the facts."""
    return re.sub(r"^const (.*)$", r"enum [\1]", text)


def plain_of(ours: dict[str, Any]) -> str:
    """Return our plain type as the facts would write it."""
    if "const" in ours:
        return f'enum ["{ours["const"]}"]'
    if "enum" in ours:
        return "enum [" + ", ".join(f'"{value}"' for value in ours["enum"]) + "]"
    kind = ours.get("type", "any")
    return f"{kind}({ours['format']})" if "format" in ours else kind


def compare_schema(name: str, ours: dict[str, Any], where: str, seen: set[str]) -> list[str]:
    """Return where our schema differs from one of theirs."""
    theirs = SCHEMAS[name]
    if "enum" in theirs:
        return [] if ours.get("enum") == theirs["enum"] else [f"{where}: {ours.get('enum')}"]
    if name in seen:
        return []
    seen.add(name)
    if ours.get("type") != "object":
        return [f"{where}: no object"]
    problems = []
    if theirs.get("extra") == "forbid" and ours.get("additionalProperties") is not False:
        problems.append(f"{where}: takes unknown fields")
    properties = ours.get("properties", {})
    required = {field for field, fact in theirs.get("fields", {}).items() if fact.get("required")}
    if required != set(ours.get("required", [])) & set(theirs.get("fields", {})):
        problems.append(f"{where}: requires {ours.get('required')}, not {sorted(required)}")
    for field, fact in theirs.get("fields", {}).items():
        if field not in properties:
            problems.append(f"{where}.{field} is missing")
        else:
            problems += compare_field(fact, properties[field], f"{where}.{field}", seen)
    return problems


def compare_field(fact: dict[str, Any], ours: dict[str, Any], where: str, seen: set[str]) -> list[str]:
    """Return where our field differs from theirs."""
    problems = compare(fact["type"], ours, where, seen)
    if "default" in fact and ours.get("default") != fact["default"] and fact["default"] != []:
        problems.append(f"{where}: default {ours.get('default')!r} is not {fact['default']!r}")
    for limit, value in fact.get("limits", {}).items():
        mine = [part.get(limit) for part in [ours, *parts(ours)]]
        if limit in LIMITS and value not in mine:
            problems.append(f"{where}: {limit} is not {value}")
    return problems


@pytest.mark.parametrize("name", sorted(ENDPOINTS))
def test_an_operation_takes_what_the_contract_says(name: str) -> None:
    """Path and query parameters and the body's schema, down to the last field."""
    theirs, ours = ENDPOINTS[name], operation(name)
    problems = []
    mine = {(each["in"], each["name"]): each for each in ours.get("parameters", [])}
    for parameter in theirs.get("parameters") or []:
        found = mine.get((parameter["in"], parameter["name"]))
        if found is None:
            problems.append(f"parameter {parameter['name']} is missing")
        elif bool(parameter.get("required")) != found.get("required", False):
            problems.append(f"parameter {parameter['name']}: required")
        else:
            problems += compare(parameter["type"], found["schema"], parameter["name"], set())
    body = theirs.get("body")
    if body is not None:
        request = ours["requestBody"]
        assert body["required"] == request.get("required", False)
        problems += compare(body["type"], request["content"]["application/json"]["schema"], "body", set())

    assert problems == []


# Our server asks nobody for a token, and says so with 422.
NEVER_GOOD = {"GET /csrf-token"}


@pytest.mark.parametrize("name", sorted(set(ENDPOINTS) - NEVER_GOOD))
def test_an_operation_answers_what_the_contract_says(name: str) -> None:
    """The schema of the answer of each good status holds every field of the contract's."""
    theirs, ours = ENDPOINTS[name], operation(name)
    problems = []
    for status, text in theirs["responses"].items():
        answer = ours["responses"].get(status)
        if answer is None:
            problems.append(f"no answer {status}")
        elif text not in (None, "any"):
            problems += compare(text, answer["content"]["application/json"]["schema"], status, set())

    assert problems == []


def test_the_websockets_of_the_contract_are_there() -> None:
    """Events in, events out, logs out: websockets are not in the document, so the routes are asked."""
    from headrace.server.api import websockets

    paths = {route.path for route in websockets.router.routes}  # type: ignore[attr-defined]

    assert set(FACTS["websockets"]) == paths
