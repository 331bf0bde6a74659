"""Explain a run to a person: its state and how it came to it, the evidence, and when its tasks ran."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import click

from headrace.client.calls import Json
from headrace.model.sizes import size_text
from headrace.model.states import DEFAULT_NAME, colour_of

from .advice import Account
from .output import (
    Cell,
    can_show,
    duration,
    heading,
    local_time,
    moment,
    printable,
    state_cell,
    styled,
    without_controls,
    write_table,
)
from .timeline import Span, bars

_SURE = {
    "certain": "it was seen, or done on purpose",
    "likely": "what was seen fits, but something else may have been the cause",
    "unknown": "nobody could see it",
    "presumed": "nothing was seen; the run's own word will replace this if it comes",
}
"""What each grade says."""

TASKS_SHOWN = 40
"""Task runs drawn one by one; of more, the first ones and a count by state."""

_LABEL_WIDTH = 14

_BLOCKS = {"traceback", "stack", "sampled_stack"}
"""Evidence that is text of many lines and is shown as it is."""


def facts(pairs: Sequence[tuple[str, str]]) -> None:
    """Write ``label  value`` lines; what is empty is left out."""
    shown = [(label, value) for label, value in pairs if value]
    width = max([_LABEL_WIDTH, *(len(label) for label, _ in shown)])
    for label, value in shown:
        click.echo(f"  {label:<{width}} {value}")


def state_lines(run: Json) -> None:
    """Write a run's state and its message."""
    state = run.get("state") or {}
    facts([("state", styled(state_cell(run))), ("message", without_controls(state.get("message") or ""))])


def history(entries: Sequence[Json]) -> None:
    """Write every state that was reported, with who said so and how strong the word was."""
    if not entries:
        return
    heading("History")
    attempts = len({entry.get("attempt", 1) for entry in entries}) > 1
    headers = ["TIME", "STATE", "RANK", "SOURCE", *(["ATTEMPT"] if attempts else []), "MESSAGE"]
    rows = [
        [
            local_time(entry["timestamp"], millis=True),
            Cell(entry["name"], colour_of(entry["type"], entry["name"])),
            entry["rank"],
            entry["source"],
            *([str(entry.get("attempt", 1))] if attempts else []),
            _first_line(entry.get("message")),
        ]
        for entry in entries
    ]
    write_table(headers, rows, empty="")


def account(run: Json, told: Account) -> None:
    """Write why a run is where it is: the cause, and how sure that is and by whose word."""
    sure = _SURE[told.certainty]
    facts(
        [
            ("state", styled(state_cell(run))),
            ("cause", printable(told.cause)),
            (
                "certainty",
                f"{told.certainty}: {sure}" + (f" (told by the {told.said_by})" if told.said_by else ""),
            ),
        ]
    )


def account_json(run: Json, told: Account) -> Json:
    """Return the same for programs."""
    return {
        "flow_run_id": run["id"],
        "name": run["name"],
        "flow_name": run.get("flow_name"),
        "state_type": run.get("state_type"),
        "state_name": run.get("state_name"),
        **told._asdict(),
    }


def unfinished(tasks: Sequence[Json]) -> None:
    """Write task runs that failed or crashed, each with its message."""
    if tasks:
        heading("Tasks that did not complete")
        for task in tasks:
            message = printable(_first_line((task.get("state") or {}).get("message")))
            click.echo(f"  {printable(task['name'])}  {styled(state_cell(task))}  {message}".rstrip())


def advice(told: Account) -> None:
    """Write what to do next."""
    if told.next:
        heading("What to do next")
        for sentence in told.next:
            click.echo(f"  * {printable(sentence)}")


def evidence(state: Json | None) -> None:
    """Write what a state carries as proof: the exception and its chain, or how the process ended."""
    found = ((state or {}).get("state_details") or {}).get("evidence")
    if not isinstance(found, dict) or not found:
        return
    exception = found.get("exception")
    plain = {key: value for key, value in found.items() if key != "exception"}
    if plain:
        heading("Evidence")
        _evidence_lines(plain)
    if isinstance(exception, dict):
        _exception(exception)


def _evidence_lines(found: dict[str, Any]) -> None:
    plain = {key: value for key, value in found.items() if not _is_block(key, value)}
    facts([(_label(key), _value(key, value)) for key, value in plain.items()])
    for key, value in found.items():
        if key not in plain:
            click.echo(f"  {_label(key)}")
            _indented(value if isinstance(value, str) else "\n".join(map(str, value)))


def _label(key: str) -> str:
    return key.removesuffix("_bytes").removesuffix("_seconds").replace("_", " ")


def _is_block(key: str, value: Any) -> bool:
    return (key in _BLOCKS and isinstance(value, str)) or (key == "last_output" and isinstance(value, list))


def _value(key: str, value: Any) -> str:
    if value is True or value is False:
        return "yes" if value else "no"
    if key.endswith("_bytes") and isinstance(value, int):
        return size_text(value)
    if key.endswith("_seconds") and isinstance(value, (int, float)):
        return duration(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return printable(", ".join(value))
    return printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _exception(found: dict[str, Any]) -> None:
    heading("Exception")
    chain = found.get("chain") or [found]
    joined = {"cause": "caused by", "context": "while handling"}
    facts(
        [
            (
                joined.get(link.get("how", ""), "raised"),
                _first_line(f"{link.get('type')}: {link.get('message')}"),
            )
            for link in chain
        ]
    )
    if found.get("traceback"):
        click.echo()
        _indented(str(found["traceback"]))


def _indented(text: str) -> None:
    for line in without_controls(text).rstrip("\n").split("\n"):
        click.echo(f"    {line}".rstrip())


def _first_line(text: str | None) -> str:
    lines = (text or "").split("\n")
    return lines[0] + (" …" if len(lines) > 1 else "")


def timeline(tasks: Sequence[Json], children: Mapping[str, Json], total: int, now: datetime) -> None:
    """Draw a flow run's task runs as bars on one scale.

    ``children`` is ``{task run id: the flow run it stands for}``; ``total`` how many task runs there are in all.
    """
    if not tasks:
        return
    shown = list(tasks[:TASKS_SHOWN])
    heading(f"Tasks ({total:,})")
    names = [_shorten(printable(task["name"]), 32) for task in shown]
    name_width = max(map(len, names))
    width = max(min(shutil.get_terminal_size((100, 24)).columns, 120) - name_width - 38, 10)
    full, open_end = ("█", "▒") if can_show("█▒") else ("#", "~")
    drawn = bars([span_of(task) for task in shown], now, width, full=full, open_end=open_end)
    for task, name, bar in zip(shown, names, drawn, strict=True):
        state = styled(Cell(f"{state_cell(task).text:<13}", state_cell(task).colour))
        child = children.get(task["id"])
        note = f"  flow run {printable(child['name'])}" if child else ""
        click.echo(f"  {name:<{name_width}}  {bar}  {state} {took(task):>11}{note}".rstrip())
    if total > len(shown):
        click.echo(
            f"  ... and {total - len(shown):,} more: headrace task-run ls --flow-run RUN --limit {total}"
        )


def span_of(run: Json) -> Span:
    """Return when a run began and ended."""
    start, end = moment(run.get("start_time")), moment(run.get("end_time"))
    if end is None and run.get("state_type") not in ("RUNNING", "CANCELLING", "PAUSED"):
        end = start  # not running, not ended: it waits to be tried again
    return Span(start, end)


def took(run: Json) -> str:
    """Return how long user code has run; empty for a run that never began."""
    if not run.get("start_time"):
        return ""
    return duration(run.get("estimated_run_time") or run.get("total_run_time") or 0)


def counts(tasks: Sequence[Json]) -> str:
    """Return ``3 Completed, 1 Failed`` for a list of runs."""
    found = Counter(task.get("state_name") or "?" for task in tasks)
    return ", ".join(f"{count:,} {name}" for name, count in found.most_common())


def state_line(entry: Json) -> str:
    """Return one line for a state: time, name, message."""
    name = entry.get("name") or DEFAULT_NAME.get(entry["type"], entry["type"])
    shown = styled(Cell(f"{name:<13}", colour_of(entry["type"], name)))
    return f"{local_time(entry['timestamp'], millis=True)}  {shown}  {printable(_first_line(entry.get('message')))}".rstrip()


def _shorten(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
