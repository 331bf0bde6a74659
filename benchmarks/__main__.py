"""``python -m benchmarks``: measure everything and print the table of ``docs/reference/benchmarks.md``."""

from __future__ import annotations

import argparse
import datetime
import sys

from . import (
    at_once,
    away,
    away_minute,
    cancel,
    claims,
    deliveries,
    growth,
    idle,
    import_time,
    ingest,
    listing,
    live_run,
    log_lines,
    machine,
    memory,
    page,
    peer,
    scheduler,
    script,
    server_start,
    starting,
    subflow,
    table,
    task_call,
    task_submit,
)

ALL = (
    import_time,
    task_call,
    task_submit,
    subflow,
    script,
    server_start,
    ingest,
    log_lines,
    memory,
    listing,
    starting,
    at_once,
    cancel,
    idle,
    live_run,
    away,
    away_minute,
    scheduler,
    claims,
    deliveries,
    growth,
)


def main() -> int:
    """Measure what was asked for; return 1 when a floor was missed."""
    options = _options()
    chosen = [module for module in ALL if not options.only or module.__name__.split(".")[-1] in options.only]
    begun = machine.load()
    side = table.find_peer(wanted=not options.no_peer)
    lines = table.measure([module.MEASUREMENT for module in chosen], side)
    text = table.render(lines, peer.version() if side else None)
    today = datetime.datetime.now(tz=datetime.timezone.utc).date()
    told = f"Measured on {today} on {machine.describe()}. Load average at the start {begun}, at the end {machine.load()}."
    print(f"{text}\n\n{told}")
    if options.write:
        page.write(f"{told}\n\n{text}")
    missed = table.missed(lines)
    for title in missed:
        print(f"Missed or not measured: {title}", file=sys.stderr)
    return 1 if missed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure what Headrace costs.")
    table.add_peer_option(parser)
    parser.add_argument(
        "--write", action="store_true", help="put the table into docs/reference/benchmarks.md"
    )
    names = [module.__name__.split(".")[-1] for module in ALL]
    parser.add_argument("only", nargs="*", choices=[*names, []], help="measure only these")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
