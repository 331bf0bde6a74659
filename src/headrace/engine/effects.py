"""What a run's lifecycle asks of its driver: plain values, carried out elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from .state import State


class Effect(msgspec.Struct, frozen=True):
    """Base of all effects."""


class Record(Effect, frozen=True):
    """Write a state down and make it the run's. Answer: nothing."""

    state: State[Any]


class Call(Effect, frozen=True):
    """Run the user's function within the run's context and timeout. Answer: ``(value, error)``."""


class WaitFor(Effect, frozen=True):
    """Wait until all futures are done. Answer: ``None``, or what interrupted the wait."""

    futures: Sequence[Any]


class Drain(Effect, frozen=True):
    """Wait for the tasks that the flow submitted; if it raised, those that have not begun are cancelled.

    A flow that was interrupted, or whose time is over, waits for none. Answer: ``None``, or what interrupted
    the wait.
    """

    error: BaseException | None
    abandon: bool


class Sleep(Effect, frozen=True):
    """Wait some seconds. Answer: ``None``, or what interrupted the wait."""

    seconds: float


class Hooks(Effect, frozen=True):
    """Call the user's hooks with (definition, run, state); their errors are logged. Answer: nothing."""

    hooks: Sequence[Callable[..., Any]]
    state: State[Any]


CALL = Call()
