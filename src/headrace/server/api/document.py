"""The OpenAPI document, made when it is asked for: a server that starts has better things to do.

A route names the types of its body and answers by a placeholder; the schemas behind them are made all at once
with the document.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

_HERE = "headrace:"
_types: list[tuple[Any, JsonSchemaMode]] = []


def placeholder(kind: Any, mode: JsonSchemaMode) -> dict[str, str]:
    """Return what stands for a type's schema until the document is made."""
    _types.append((kind, mode))
    return {"$ref": f"{_HERE}{len(_types) - 1}"}


def body(kind: Any, *, required: bool) -> dict[str, Any]:
    """Return the ``requestBody`` of an operation that takes JSON."""
    content = {"application/json": {"schema": placeholder(kind, "validation")}}
    return {"content": content, **({"required": True} if required else {})}


def answer(kind: Any) -> dict[str, Any]:
    """Return the description of a good answer that is JSON."""
    content = {"application/json": {"schema": placeholder(kind, "serialization")}}
    return {"description": "Successful Response", "content": content}


def complete(app: FastAPI) -> None:
    """Let an app put the schemas in when it makes its document."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = make()
            app.openapi_schema = _filled(document)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend its document


def _filled(document: dict[str, Any]) -> dict[str, Any]:
    used = sorted(_used(document))
    wanted = [(number, _types[number][1], TypeAdapter(_types[number][0])) for number in used]
    schemas, shared = TypeAdapter.json_schemas(wanted, ref_template="#/components/schemas/{model}")
    by_number = {number: schema for (number, _mode), schema in schemas.items()}
    components = document.setdefault("components", {}).setdefault("schemas", {})
    components.update(shared.get("$defs", {}))
    filled: dict[str, Any] = _replace(document, by_number)
    return filled


def _used(value: Any) -> set[int]:
    if isinstance(value, dict):
        ref = value.get("$ref")
        if isinstance(ref, str) and ref.startswith(_HERE):
            return {int(ref[len(_HERE) :])}
        return set().union(*(_used(each) for each in value.values()))
    return set().union(*(_used(each) for each in value)) if isinstance(value, list) else set()


def _replace(value: Any, schemas: dict[int, Any]) -> Any:
    if isinstance(value, dict):
        ref = value.get("$ref")
        if isinstance(ref, str) and ref.startswith(_HERE):
            return schemas[int(ref[len(_HERE) :])]
        return {name: _replace(each, schemas) for name, each in value.items()}
    return [_replace(each, schemas) for each in value] if isinstance(value, list) else value
