"""What a flow takes, as a JSON schema: made from its signature, type hints, defaults and docstring."""

from __future__ import annotations

import inspect
import warnings
from typing import Annotated, Any

import pydantic
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue

from .arguments import Validator
from .parameter_docs import descriptions

Json = dict[str, Any]

_EMPTY = inspect.Parameter.empty
_MODE: JsonSchemaMode = "validation"
_CONFIG = pydantic.ConfigDict(arbitrary_types_allowed=True)


def parameter_schema(flow: Any) -> Json:
    """Return the contract's ``parameter_openapi_schema`` of a flow.

    Each parameter has ``title``, ``position``, its type, and where there are some ``default`` and
    ``description``. A type that JSON knows nothing of is described by nothing: any value passes.
    """
    parameters = list(flow.signature.parameters.values())
    adapters = {each.name: _adapter(flow.validator, each) for each in parameters}
    described, definitions = _schemas(adapters)
    told = descriptions(inspect.getdoc(flow.fn) or "")
    properties: Json = {}
    for position, parameter in enumerate(parameters):
        rule = {**described.get(parameter.name, {}), "position": position, "title": parameter.name}
        if parameter.name in told:
            rule["description"] = told[parameter.name]
        rule.update(_default(parameter, adapters[parameter.name]))
        properties[parameter.name] = rule
    required = [each.name for each in parameters if _is_required(each)]
    return {
        "title": "Parameters",
        "type": "object",
        "properties": properties,
        "required": required,
        "definitions": definitions,
    }


class _Lenient(GenerateJsonSchema):
    """Describes by nothing what JSON cannot describe, in place of giving up."""

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> JsonSchemaValue:  # noqa: ARG002  # the base class's signature
        return {}

    def emit_warning(self, kind: Any, detail: str) -> None:  # as above
        """Say nothing: a default that JSON cannot hold is told by not being there."""


def _adapter(validator: Validator, parameter: inspect.Parameter) -> pydantic.TypeAdapter[Any] | None:
    hint = validator.read_hint(parameter.annotation)
    if hint is _EMPTY or isinstance(hint, str):
        hint = Any
    if isinstance(parameter.default, FieldInfo):
        hint = Annotated[hint, parameter.default]
    if parameter.kind is parameter.VAR_POSITIONAL:
        hint = _LIST[hint]
    elif parameter.kind is parameter.VAR_KEYWORD:
        hint = _DICT[str, hint] if "Unpack" not in repr(hint) else _DICT[str, Any]
    for config in (_CONFIG, None):  # a model or dataclass brings a configuration of its own
        try:
            return pydantic.TypeAdapter(hint, config=config)
        except pydantic.PydanticUserError:
            continue
        except pydantic.errors.PydanticUndefinedAnnotation:
            return None
    return None


def _schemas(adapters: dict[str, pydantic.TypeAdapter[Any] | None]) -> tuple[dict[str, Json], Json]:
    """Return each parameter's schema, and the definitions that they share."""
    inputs = [(name, _MODE, adapter) for name, adapter in adapters.items() if adapter is not None]
    made, rest = pydantic.TypeAdapter.json_schemas(
        inputs, ref_template="#/definitions/{model}", schema_generator=_Lenient
    )
    return {name: dict(schema) for (name, _), schema in made.items()}, dict(rest.get("$defs", {}))


def _default(parameter: inspect.Parameter, adapter: pydantic.TypeAdapter[Any] | None) -> Json:
    """Return ``{"default": ...}``, or nothing where there is none or JSON cannot hold it."""
    if parameter.kind is parameter.VAR_POSITIONAL:
        return {"default": []}
    if parameter.kind is parameter.VAR_KEYWORD:
        return {"default": {}}
    value = parameter.default
    if isinstance(value, FieldInfo):
        value = (
            _EMPTY if value.is_required() else value.get_default(call_default_factory=True, validated_data={})
        )
    if value is _EMPTY:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a default that does not fit its own hint, such as ``n: int = None``
        try:
            return {"default": _as_json(value, adapter)}
        except (pydantic.errors.PydanticSchemaGenerationError, ValueError, TypeError):
            return {}


def _as_json(value: Any, adapter: pydantic.TypeAdapter[Any] | None) -> Any:
    if adapter is not None:
        try:
            return adapter.dump_python(value, mode="json")
        except (ValueError, TypeError, AttributeError):
            pass  # it does not fit its hint: told as the value it is
    return pydantic.TypeAdapter(type(value), config=_CONFIG).dump_python(value, mode="json")


def _is_required(parameter: inspect.Parameter) -> bool:
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        return False
    default = parameter.default
    return default.is_required() if isinstance(default, FieldInfo) else default is _EMPTY


_LIST: Any = list  # subscripted with hints that only a run knows
_DICT: Any = dict
