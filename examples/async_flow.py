"""Ask many servers at once: async tasks in an async flow, with ``asyncio.gather``.

python async_flow.py example.org:443 localhost:22
"""

from __future__ import annotations

import asyncio
import sys
import time

from headrace import flow, tags, task


@task(task_run_name="reach {host}:{port}", timeout_seconds=5)
async def reach(host: str, port: int) -> float:
    """Return the milliseconds that a TCP connection took; a server that is away raises ``OSError``."""
    begun = time.perf_counter()
    _, writer = await asyncio.open_connection(host, port)
    writer.close()
    await writer.wait_closed()
    return (time.perf_counter() - begun) * 1000


@flow(log_prints=True)
async def reachability(servers: list[tuple[str, int]]) -> dict[str, float | None]:
    """Return ``{server: milliseconds}``, ``None`` for a server that cannot be reached."""
    with tags("network"):
        states = await asyncio.gather(*(reach(host, port, return_state=True) for host, port in servers))
    found = {}
    for (host, port), state in zip(servers, states, strict=True):
        found[f"{host}:{port}"] = state.result() if state.is_completed() else None
        print(f"{host}:{port} is {'there' if state.is_completed() else f'away ({state.message})'}")
    return found


async def main() -> None:
    """Reach the servers that were named, or one of our own and one that is surely away."""
    if len(sys.argv) > 1:
        await reachability([(host, int(port)) for host, port in (a.rsplit(":", 1) for a in sys.argv[1:])])
        return
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        await reachability([("127.0.0.1", server.sockets[0].getsockname()[1]), ("127.0.0.1", 1)])


if __name__ == "__main__":
    asyncio.run(main())
