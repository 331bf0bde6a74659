"""Marks on a task's arguments: how they are mapped, waited for and resolved."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Annotation(Generic[T]):
    """A value with a mark."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value

    def unwrap(self) -> T:
        """Return the value."""
        return self.value

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.value == other.value

    __hash__ = None  # type: ignore[assignment]  # compared by value

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.value!r})"


class unmapped(Annotation[T]):  # noqa: N801  # the field's name
    """In ``task.map``: hand the value whole to each run instead of spreading it."""

    __slots__ = ()

    def __getitem__(self, _: object) -> Any:
        return self.value


class allow_failure(Annotation[T]):  # noqa: N801
    """Let a task begin although a run that it needs failed; it then gets the exception as the value."""

    __slots__ = ()


class quote(Annotation[T]):  # noqa: N801
    """Hand the value over as it is, without looking for futures in it."""

    __slots__ = ()

    def unquote(self) -> T:
        """Return the value."""
        return self.value


class opaque(quote[T]):  # noqa: N801
    """As :class:`quote`."""

    __slots__ = ()
