"""Parameters as JSON, for the journal.

Apart from ``arguments``, because importing headrace needs no encoder yet.
"""

from __future__ import annotations

from typing import Any

import msgspec

from .arguments import short

_JSON_LIMIT = 512 * 1024
"""Bytes of parameters that are written into the journal; larger ones are shown by their size."""


def to_json(values: dict[str, Any]) -> bytes:
    """Return parameters as a JSON object; what JSON cannot hold is its ``repr``, what is too large its size."""
    if not values:
        return b"{}"
    try:
        data = _encode(values)
    except Exception:
        data = _encode({name: _one_json(value) for name, value in values.items()})
    if len(data) > _JSON_LIMIT:
        data = _encode(
            {name: _one_json(value, limit=_JSON_LIMIT // (len(values) + 1)) for name, value in values.items()}
        )
    return data


def _one_json(value: Any, limit: int = _JSON_LIMIT) -> Any:
    try:
        data = _encode(value)
    except Exception:
        return short(value)
    return value if len(data) <= limit else f"<{type(value).__name__}, {len(data)} bytes of JSON>"


def _hook(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)  # a pydantic model
    if dump is not None and not isinstance(value, type):
        return dump(mode="json")
    return short(value)


_encode = msgspec.json.Encoder(enc_hook=_hook).encode
