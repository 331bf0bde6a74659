"""A flow run as the server has it on record, for code that asks about runs of other processes."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from .state import State

_TIMES = {"created", "updated", "expected_start_time", "next_scheduled_start_time", "start_time", "end_time"}


class RecordedFlowRun:
    """A flow run on record: a picture of one moment, under the contract's names.

    Ids are ``UUID``, times aware ``datetime``, ``state`` is a :class:`~headrace.engine.state.State`. Whatever else the
    server told is there by its name; :meth:`to_dict` gives all of it as plain JSON.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self.id = UUID(document["id"])
        self.name: str = document["name"]
        self.parameters: dict[str, Any] = document.get("parameters") or {}
        self.tags: list[str] = document.get("tags") or []
        told = document.get("state")
        self.state: State[Any] | None = None if told is None else state_of(told)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._document:
            raise AttributeError(f"The server told no {name!r} of this flow run.")
        value = self._document[name]
        if value is None:
            return None
        if name in _TIMES:
            return _moment(value)
        return UUID(value) if name.endswith("_id") and isinstance(value, str) and len(value) == 36 else value

    def to_dict(self) -> dict[str, Any]:
        """Return all that the server told, as plain JSON values."""
        return dict(self._document)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RecordedFlowRun) and self._document == other._document

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<FlowRun {self.name!r} {self.id}: {self.state.name if self.state else 'no state'}>"


def state_of(document: dict[str, Any]) -> State[Any]:
    """Return the state that a JSON object of the contract tells; its value stays with the process that made it."""
    return State(
        document["type"],
        document.get("name"),
        document.get("message"),
        state_details=document.get("state_details") or {},
        timestamp=_moment(document["timestamp"]) if document.get("timestamp") else None,
        id=document.get("id"),
    )


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
