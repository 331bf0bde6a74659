"""Which due runs a worker is given: limits of pool, queues and deployments, as one pure function.

A run that waits for a limit never hides one that does not: the next in line is looked at instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Due(NamedTuple):
    """A run that could begin now."""

    id: str
    queue: str | None
    deployment: str | None


class Room(NamedTuple):
    """How many runs more may live under a limit, and what happens to one that is too many."""

    free: int
    cancels: bool = False
    """Whether a run that finds no room is cancelled (``CANCEL_NEW``) instead of waiting (``ENQUEUE``)."""


class Allocation(NamedTuple):
    """What becomes of the due runs that were looked at; those in neither list wait."""

    taken: list[str]
    cancelled: list[str]
    more: bool = False
    """Whether others of them could begin as well, if the worker took more."""


def allocate(
    due: Iterable[Due],
    *,
    capacity: int,
    pool: int | None = None,
    queues: Mapping[str, Room] | None = None,
    deployments: Mapping[str, Room] | None = None,
) -> Allocation:
    """Give away due runs, which come in the order in which they are to be served.

    ``capacity`` is how many the worker takes, ``pool`` how many more may live in its pool (``None``: any number);
    queues and deployments without a limit are in neither mapping.
    """
    left = capacity if pool is None else min(capacity, pool)
    rooms = {("queue", id): room.free for id, room in (queues or {}).items()}
    rooms |= {("deployment", id): room.free for id, room in (deployments or {}).items()}
    cancelling = {id for id, room in (deployments or {}).items() if room.cancels}
    taken: list[str] = []
    cancelled: list[str] = []
    more = False
    for run in due:
        in_queue, of_deployment = ("queue", run.queue or ""), ("deployment", run.deployment or "")
        if rooms.get(of_deployment, 1) <= 0:
            if run.deployment in cancelling:
                cancelled.append(run.id)
            continue
        if rooms.get(in_queue, 1) <= 0:
            continue
        if left <= 0:
            more = pool is None or capacity < pool
            continue
        taken.append(run.id)
        left -= 1
        for key in (in_queue, of_deployment):
            if key in rooms:
                rooms[key] -= 1
    return Allocation(taken, cancelled, more)


def deal(things: Sequence[T], most: Sequence[int]) -> list[list[T]]:
    """Deal things out in turn, to each as many as he takes at most; what nobody takes is left over."""
    hands: list[list[T]] = [[] for _ in most]
    open_hands = [number for number, limit in enumerate(most) if limit > 0]
    at = 0
    for thing in things:
        if not open_hands:
            break
        at %= len(open_hands)
        number = open_hands[at]
        hands[number].append(thing)
        if len(hands[number]) == most[number]:
            del open_hands[at]
        else:
            at += 1
    return hands
