"""Pauses that are over, each with what its run was told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy.engine import Connection

from headrace.model.pauses import RESPONSE, input_key

from . import history, inputs


def pauses(connection: Connection, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``{pause key: the input}`` of a flow run's row; ``None`` where no input was asked for.

    What a pause waits for, and under which key the answer is kept, is told by its state
    (``state_details.run_input_keyset``).
    """
    keys = set((row["empirical_policy"] or {}).get("pause_keys") or ())
    found: dict[str, Any] = {}
    for state in history.history_of(row) if keys else []:
        details = state.details or {}
        key = details.get("pause_key")
        if state.type == "PAUSED" and isinstance(key, str) and key in keys:
            kept = (details.get("run_input_keyset") or {}).get("response")
            text = inputs.get(connection, row["id"], kept) if kept else None
            found[key] = msgspec.json.decode(text) if text else None
    for key in keys - found.keys():  # its state is one of those that a long history does without
        text = inputs.get(connection, row["id"], input_key(key, RESPONSE))
        found[key] = msgspec.json.decode(text) if text else None
    return found
