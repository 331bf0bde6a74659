"""Parameters and job variables as plain JSON values."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import msgspec

from ..errors import DeploymentError

Json = dict[str, Any]


def jsonable(values: Mapping[str, Any], what: str) -> Json:
    """Return values as JSON has them: models, dates, enums and paths become what the wire holds.

    Raises:
        DeploymentError: one cannot be JSON; ``what`` and its name are told.
    """
    return {name: _one(value, f"{what} {name}") for name, value in values.items()}


def _one(value: Any, what: str) -> Any:
    try:
        return msgspec.to_builtins(value, str_keys=True, enc_hook=_hook)
    except (TypeError, ValueError, RecursionError) as error:
        raise DeploymentError(
            f"The {what} is {type(value).__name__}, which cannot be sent as JSON ({error}). Give plain values."
        ) from error


def _hook(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)  # a pydantic model
    if dump is not None and not isinstance(value, type):
        return dump(mode="json")
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} is not JSON")
