"""A sync that another system refuses: a sync flow, in it an async flow, in it an async task that gets a 409.

python support_thread.py http://127.0.0.1:8000
"""

from __future__ import annotations

import asyncio
import sys

import httpx

from headrace import flow, task


class AirbyteServerNotHealthy(Exception):
    """The server that moves the data did not take the request."""


@task
async def trigger_sync(server: str, connection: str) -> str:
    """Ask the server to begin a sync; return the job's id."""
    async with httpx.AsyncClient(timeout=10) as client:
        answer = await client.post(f"{server}/v1/jobs", json={"connectionId": connection, "jobType": "sync"})
    try:
        answer.raise_for_status()
    except httpx.HTTPStatusError as error:
        raise AirbyteServerNotHealthy(f"The sync of {connection} was not taken: {answer.text}") from error
    return str(answer.json()["jobId"])


@flow
async def sync_connections(server: str, connections: list[str]) -> list[str]:
    """Begin a sync of each connection."""
    return list(await asyncio.gather(*(trigger_sync(server, connection) for connection in connections)))


@flow
def nightly_sync(server: str) -> None:
    """Sync everything that the morning's reports need."""
    asyncio.run(sync_connections(server, ["orders"]))


if __name__ == "__main__":
    nightly_sync(sys.argv[1])
