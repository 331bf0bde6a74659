"""Types of columns that mean the same in both databases."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec
from sqlalchemy import BigInteger, LargeBinary, Text, Uuid
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

Moment = BigInteger
"""Microseconds since 1970, UTC; such columns end in ``_us``."""


@lru_cache(maxsize=16_384)  # a batch names each of its ids some four times
def id_bytes(text: str) -> bytes:
    """Return the 16 bytes of an id's text; ``ValueError`` when it is not a UUID."""
    data = bytes.fromhex(text.replace("-", ""))
    if len(data) != 16:
        raise ValueError(f"{text!r} is not a UUID")
    return data


def id_text(data: bytes) -> str:
    """Return the canonical text of an id's 16 bytes."""
    text = data.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


class Id(TypeDecorator[str]):
    """A UUID: canonical text in Python, 16 bytes in SQLite, ``UUID`` in PostgreSQL."""

    impl = LargeBinary
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the database's own type."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(LargeBinary(16))
        return dialect.type_descriptor(Uuid(as_uuid=False))

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        """Turn text into what the database stores."""
        if value is None or dialect.name != "sqlite":
            return value
        return id_bytes(value)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:  # noqa: ARG002
        """Return what turns what the database stores into text: PostgreSQL's driver says it as text already."""
        return _id_or_none if dialect.name == "sqlite" else None


def _id_or_none(value: bytes | None) -> str | None:
    return None if value is None else id_text(value)


class Json(TypeDecorator[Any]):
    """Any JSON value, kept as text: it is read whole and never filtered, tags excepted.

    ``bytes`` and ``msgspec.Raw`` are taken as JSON that is encoded already.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002  # SQLAlchemy's
        """Encode a value; ``None`` is SQL's NULL."""
        if value is None:
            return None
        if not isinstance(value, (bytes, msgspec.Raw)):
            value = msgspec.json.encode(value)
        return bytes(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ARG002  # SQLAlchemy's
        """Decode what was stored."""
        return None if value is None else msgspec.json.decode(value)
