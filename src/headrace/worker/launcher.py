"""What a worker needs of the place where runs are started: start one, find it again, see it end, stop it.

An implementation lies in ``launchers/``, one file a kind (:mod:`.launchers.process`). All of them pass one suite,
``headrace.testing.launchers``. A launcher says nothing about how a run ended: its supervisor does, in the journal.
A launcher only says whether what carries the run out is still there.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from ..errors import LaunchError
from ..journal.spool import Folder
from ..model.orders import Order


class NotNow(LaunchError):
    """Nothing was started and nothing told of the run, and what stood in the way may pass: the disk is full."""


class Gone(NamedTuple):
    """The end of what carried a run out."""

    reason: str = ""
    """What the place itself says of it (``OOMKilled``, ``image not found``); empty where it says nothing."""


class Running(Protocol):
    """What carries out one attempt of a run: a process and its supervisor, a container, a pod.

    It frees what it holds (a descriptor, a connection) when it has answered :class:`Gone`, and with its launcher.
    """

    @property
    def identity(self) -> str:
        """The text by which any worker of the pool finds it again; the run's ``infrastructure_pid``.

        It is never given to another one later: a process's has its host and start time beside its pid.
        """

    def fileno(self) -> int | None:
        """Return a descriptor that is readable once it has ended, or ``None`` when only :meth:`poll` tells."""

    def poll(self) -> Gone | None:
        """Return how it ended, ``None`` while it is there. It does not block, and may be called again."""

    def stop(self, grace_seconds: float) -> None:
        """Tell the run to end, and have everything of it killed after ``grace_seconds``; return at once.

        To the run it is a SIGTERM from outside, not a cancel. What has ended already is left alone.
        """


class Launcher(Protocol):
    """A place where runs are started. Its methods may be called by several threads at once."""

    def start(self, order: Order, folder: Folder) -> Running:
        """Start what carries an order out; return as soon as it outlives this process.

        ``order`` lies as ``run.json`` in ``folder``, the new folder of the attempt's journal. An order with a
        ``refusal`` is started, too: its supervisor reports it.

        Raises:
            NotNow: nothing was started for now; it may be tried again, with a new folder.
            LaunchError: nothing was started, and nothing will be. The text says why, for the run's state.
        """

    def find(self, identity: str) -> Running | None:
        """Return what an earlier worker started here, or ``None`` when it has ended.

        Raises:
            LaunchError: nobody here can tell, for instance because it is on another host.
        """

    def close(self) -> None:
        """Give up what starting needs. Runs go on, unheeded by it. Closing twice is fine."""
