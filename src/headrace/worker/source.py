"""Where a worker's runs come from: the queues of a pool, or deployments that a process serves itself."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol

import msgspec

from ..client.connection import Connection
from ..client.polling import Polling
from ..client.where import locate
from ..errors import ObjectAlreadyExists, ObjectNotFound, ServerUnavailable
from ..model.orders import Claims, decode_claims
from ..settings import Settings

Json = dict[str, Any]

_SLACK_S = 10.0
"""How much longer than its wait a poll may take before the way to the server counts as cut."""


class Source(Protocol):
    """What a worker asks for runs."""

    name: str
    """What it is, for people."""

    def claim(self, ask: Json) -> Claims:
        """Return attempts that are now the worker's; ``ask`` is the body that all sources share.

        Raises:
            ServerUnavailable: no server answers; ask again later.
            ApiError: it refuses.
        """

    def confirm(self, worker_id: str, journals: list[str]) -> list[str]:
        """Say that attempts are begun now; return those that may be.

        Raises:
            ServerUnavailable, ApiError: as :meth:`claim`.
        """

    def close(self) -> None:
        """Give connections back, from whatever thread: a poll that waits ends."""


class _Polled:
    """What is asked of wherever the server is now: a local one may be started anew on another port."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection: Connection | None = None
        self._url = ""
        self._polling = Polling()

    def poll(self, path: str, ask: Json) -> Claims:
        """Send a request that may wait as long as ``ask`` says; return what its answer gives.

        It gives nothing where a proxy on the way would not wait so long.
        """
        return self._polling.ask(ask["wait"], lambda wait: self._poll(path, {**ask, "wait": wait}), Claims())

    def _poll(self, path: str, ask: Json) -> Claims:
        timeout = ask["wait"] + _SLACK_S
        answer = self.connection().request("POST", path, json=ask, timeout=timeout, retries=0)
        return _read(answer.content)

    def confirm(self, worker_id: str, journals: list[str]) -> list[str]:
        """Say that attempts are begun now, see :class:`Source`; asking twice does no harm."""
        body = {"worker_id": worker_id, "journals": journals}
        answer = self.connection().post("/claims/confirm", body, repeatable=True)
        return [str(journal) for journal in answer["journals"]] if isinstance(answer, dict) else []

    def connection(self) -> Connection:
        """Return a connection to the server.

        Raises:
            ServerUnavailable: there is none for this home folder.
        """
        location = locate(self._settings)
        if location.kind == "embedded":
            self.close()
            raise ServerUnavailable(
                f"No server runs for {self._settings.home_path}, and HEADRACE_API_URL names none. Start one with "
                "`headrace server start`."
            )
        if self._connection is None or location.url != self._url:
            self.close()
            self._connection, self._url = Connection(self._settings, location.url), location.url
        return self._connection

    def close(self) -> None:
        """Give the connection back; the next poll opens a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class PoolSource(_Polled):
    """The queues of one pool; ``queues`` are names, ``None`` is all of them.

    A pool that is not there is made, of type ``process``, when ``make_pool`` says so.
    """

    def __init__(
        self, settings: Settings, pool: str, queues: Collection[str] | None, *, make_pool: bool = True
    ) -> None:
        super().__init__(settings)
        self.name = f"work pool {pool!r}" + (f", queues {', '.join(sorted(queues))}" if queues else "")
        self._pool = pool
        self._queues = sorted(queues) if queues else None
        self._make_pool = make_pool

    def claim(self, ask: Json) -> Claims:
        """Return attempts of the pool's runs; see :class:`Source`."""
        body = {**ask, "work_queue_names": self._queues}
        path = f"/work_pools/{self._pool}/claim"
        try:
            return self.poll(path, body)
        except ObjectNotFound:
            if not self._make_pool:
                raise
            self._create()
            return self.poll(path, body)

    def _create(self) -> None:
        connection = self.connection()
        try:
            template = connection.get("/collections/views/aggregate-worker-metadata")["prefect"]["process"]
            body = {
                "name": self._pool,
                "type": "process",
                "base_job_template": template["default_base_job_configuration"],
            }
            connection.post("/work_pools/", body)
        except ObjectAlreadyExists:
            return  # another worker was quicker


class DeploymentSource(_Polled):
    """Deployments that a process serves itself, by id."""

    def __init__(self, settings: Settings, ids: Collection[str]) -> None:
        super().__init__(settings)
        self.name = f"{len(ids)} deployment{'s' if len(ids) != 1 else ''}"
        self._ids = sorted(ids)

    def claim(self, ask: Json) -> Claims:
        """Return attempts of the deployments' runs; see :class:`Source`."""
        body = {**ask, "deployment_ids": self._ids}
        return self.poll("/deployments/claim", body)


def _read(content: bytes) -> Claims:
    try:
        return decode_claims(content)
    except msgspec.MsgspecError as error:
        raise ServerUnavailable(
            f"The answer does not come from a Headrace server ({error}): a proxy or a login page may stand before it."
        ) from error


class Patience:
    """How long to wait before asking again: longer each time, and nothing once it worked."""

    def __init__(self, first_s: float = 0.2, longest_s: float = 5.0) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._failures = 0

    def failed(self) -> float:
        """Return seconds to wait after one more failure."""
        self._failures += 1
        return min(self._longest_s, self._first_s * 2.0 ** min(self._failures - 1, 10))

    def worked(self) -> bool:
        """Forget failures; return whether there were any."""
        had, self._failures = self._failures > 0, 0
        return had
