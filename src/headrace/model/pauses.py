"""Where the question and the answer of a pause are kept at the server: under keys made from the pause's own."""

from __future__ import annotations

SCHEMA = "schema"
RESPONSE = "response"
DESCRIPTION = "description"


def input_key(pause_key: str, part: str) -> str:
    """Return the key under which a part of a pause is kept: its ``SCHEMA``, ``RESPONSE`` or ``DESCRIPTION``."""
    return f"pause-{pause_key}-{part}"
