"""Write what the documents can be made of: tables and diagrams in the middle of pages, from the code itself.

``python -m tools.docs`` (``make docs``) fills, in every page below ``docs``, each block between
``<!-- made: NAME -->`` and ``<!-- end -->``, and writes the pages that are made whole. A test compares.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from headrace import errors
from headrace.cli import reference
from headrace.model import entries, jobs, resolve, states, transitions, verdict
from headrace.server import app

DOCS = Path(__file__).parents[1] / "docs"

_CODE = re.compile(r"``(.+?)``")
_BLOCK = re.compile(r"(<!-- made: ([a-z-]+) -->\n).*?(^<!-- end -->$)", re.DOTALL | re.MULTILINE)


def fill(text: str) -> str:
    """Return a page with every block made anew.

    Raises:
        KeyError: a block has a name that is not known here.
    """
    return _BLOCK.sub(lambda found: f"{found[1]}\n{BLOCKS[found[2]]()}\n\n{found[3]}", text)


def table(headers: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


# -- states


def state_table() -> str:
    """Return every state with its type and meaning."""
    rows = [
        [f"`{kind.name}`", f"`{kind.type.value}`", "yes" if kind.terminal else "", kind.meaning]
        for kind in states.KINDS
    ]
    return table(["name", "type", "the run ends in it", "what it says"], rows)


def edge_diagram() -> str:
    """Return the edges as arrows, grouped by where they start."""
    starts = list(dict.fromkeys(edge.before for edge in transitions.EDGES))
    left = max(len(start.value) for start in starts if start is not None)
    verbs = max(len(edge.verb) for edge in transitions.EDGES)
    lines: list[str] = []
    for start in starts:
        shown = "(nothing)" if start is None else start.value
        for edge in (edge for edge in transitions.EDGES if edge.before == start):
            lines.append(
                f"{shown:<{left}} ── {edge.verb} {'─' * (verbs - len(edge.verb))}──▶ {edge.after.value}"
            )
            shown = ""
        lines.append("")
    return "```text\n" + "\n".join(lines).rstrip() + "\n```"


def edge_table() -> str:
    """Return the edges with their reasons."""
    rows = [
        [
            "" if edge.before is None else f"`{edge.before.value}`",
            edge.verb,
            f"`{edge.after.value}`",
            edge.why,
        ]
        for edge in transitions.EDGES
    ]
    return table(["from", "verb", "to", "because"], rows)


def rank_table() -> str:
    """Return who may speak about a run."""
    told = field_sentences(resolve.Rank)
    rows = [[str(rank.value), rank.name.lower(), told[rank.name]] for rank in reversed(resolve.Rank)]
    return table(["rank", "report", "who makes it"], rows)


# -- errors


def error_tree() -> str:
    """Return the tree of errors, drawn."""
    return (
        "```text\n"
        + "\n".join(
            [*_branch(errors.HeadraceError), "", "TerminationSignal (BaseException)", "Pause (BaseException)"]
        )
        + "\n```"
    )


def _branch(kind: type[BaseException]) -> Iterator[str]:
    yield kind.__name__
    below = _below(kind)
    for child in below:
        last = child is below[-1]
        first, *rest = _branch(child)
        yield ("└── " if last else "├── ") + first
        yield from (("    " if last else "│   ") + line for line in rest)


def _below(kind: type[BaseException]) -> list[type[BaseException]]:
    return [child for child in kind.__subclasses__() if child.__module__ == errors.__name__]


def error_kinds(kind: type[BaseException] = errors.HeadraceError) -> list[type[BaseException]]:
    """Return an error and all below it, in the order of the tree."""
    return [kind, *(found for child in _below(kind) for found in error_kinds(child))]


def error_list() -> str:
    """Return every error with its code and what it says."""
    parts: list[str] = []
    for kind in (*error_kinds(), errors.TerminationSignal, errors.Pause):
        code = getattr(kind, "code", None)
        also = [base.__name__ for base in kind.__mro__[1:] if base.__module__ == "builtins"]
        also = [name for name in also if name not in ("Exception", "BaseException", "object", "OSError")]
        facts = [f"code `{code}`"] if code else []
        facts += [f"also a `{also[0]}`"] if also else []
        parts += [f"## {kind.__name__}", "", *([", ".join(facts), ""] if facts else []), _prose(kind), ""]
    return "\n".join(parts).rstrip()


def _prose(thing: Any) -> str:
    """Return a docstring as Markdown."""
    return _CODE.sub(r"`\1`", inspect.cleandoc(thing.__doc__ or ""))


# -- records


COMMON = {
    "run": "The run's id.",
    "t": "When, in microseconds since 1970 (UTC).",
    "journal": "The journal's id.",
    "pid": "A process's id; with a state, the one that carried the task out when it is not the journal's own.",
    "host": "The host's name.",
    "v": "The journal's format, now 1.",
    "attempt": "Which attempt of the run this process is, from 1.",
    "token": "What proves the attempt; none for a script.",
    "user": "The user's name on the host.",
    "python": "Python's version.",
    "headrace": "Headrace's version, where it is told.",
    "argv": "The command line, 50 words at most.",
    "cwd": "The folder in which the process began.",
    "version": "The flow's or task's version.",
    "tags": "Its tags.",
    "retries": "How often a failure is tried again.",
    "retry_delay": "Seconds before a retry, or a list of them.",
    "inputs": "Which runs its parameters come from.",
    "labels": "Labels, as the contract has them.",
    "dynamic_key": "Which call of its task within the flow run this is.",
    "flow_run": "The flow run that it belongs to.",
    "task_run": "The task run that it belongs to.",
    "type": "The state's type.",
    "name": "The state's name.",
    "message": "A sentence for people.",
    "details": "Fields of the contract's `state_details`; ours is `evidence`.",
    "logger": "The logger's name.",
    "who": "Who asked.",
    "key": "The key under which it is kept.",
    "records": "How many records.",
    "reason": "Why.",
    "logs": "How many of them were log lines.",
    "states": "How many of them were states.",
    "code": "The exit code, when the kernel told one.",
    "signal": "The signal's number, when one ended it.",
    "evidence": "What was gathered around the end.",
}
"""What a field says that has no sentence of its own in ``model/entries.py``."""


def field_sentences(kind: type) -> dict[str, str]:
    """Return ``{field: sentence}`` of a class whose fields are followed by their sentences."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    body = tree.body[0].body  # type: ignore[attr-defined]
    told: dict[str, str] = {}
    for node, after in itertools.pairwise(body):
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            target = getattr(node, "target", None) or getattr(node, "targets", [None])[0]
            if isinstance(target, ast.Name):
                told[target.id] = _CODE.sub(r"`\1`", " ".join(str(after.value.value).split()))
    return told


def record_kinds() -> list[Any]:
    """Return the structs of the journal's records, in the order of their file."""
    return list(entries.Entry.__args__)


def record_list() -> str:
    """Return every kind of record with its fields."""
    parts: list[str] = []
    for kind in record_kinds():
        told = field_sentences(kind)
        hints = inspect.get_annotations(kind)
        rows = [
            [f"`{name}`", f"`{_type(hint)}`", told.get(name) or COMMON[name]] for name, hint in hints.items()
        ]
        parts += [
            f"## {kind.__struct_config__.tag}",
            "",
            _prose(kind),
            "",
            table(["field", "type", "what it holds"], rows),
            "",
        ]
    return "\n".join(parts).rstrip()


def _type(hint: str) -> str:
    return hint.replace("msgspec.Raw", "object").replace("Json", "object").replace("Any", "any")


def evidence_table() -> str:
    """Return the fields of the evidence on a verdict."""
    told = field_sentences(verdict.Evidence)
    rows = [
        [f"`{name}`", told.get(name) or EVIDENCE[name]] for name in inspect.get_annotations(verdict.Evidence)
    ]
    return table(["field", "what it holds"], rows)


EVIDENCE = {
    "exit_code": "The exit code, when no signal ended it.",
    "signal": "The signal that ended it, by its name.",
    "peak_memory_bytes": "The most memory that it held, at the last look (once a second).",
    "cpu_seconds": "Processor time that it used, at the last look.",
    "host": "The host's name.",
    "pid": "Its process id.",
    "timeout_seconds": "The limit that it passed.",
    "asked_by": "Who asked for the cancel.",
    "asked_at": "When the cancel was asked.",
}
"""What a field says that has no sentence of its own in ``model/verdict.py``."""


def job_setting_table() -> str:
    """Return every job setting with what it takes."""
    rows = [
        [f"`{setting.name}`", setting.takes, setting.sentence.replace("{{ $NAME }}", "`{{ $NAME }}`")]
        for setting in jobs.SETTINGS
    ]
    return table(["setting", "takes", "what it is for"], rows)


# -- the API


def routes() -> list[tuple[str, str, str]]:
    """Return ``(method, path, first sentence)`` of every operation, in the order of the server's files."""
    return [
        (method, re.sub(r"\{(\w+):\w+\}", r"{\1}", route.path), inspect.getdoc(route.endpoint) or "")
        for module in app._ROUTERS
        for route in module.router.routes
        for method in sorted(getattr(route, "methods", None) or ["WEBSOCKET"])
    ]


def route_table(ours: bool) -> str:
    """Return the operations of the contract, or those beside it."""
    rows = [
        [f"`{method} {path}`", _CODE.sub(r"`\1`", sentence.split("\n")[0])]
        for method, path, sentence in routes()
        if ("/journals" in path) == ours
    ]
    return table(["operation", "what it does"], rows)


BLOCKS: dict[str, Callable[[], str]] = {
    "states": state_table,
    "edge-diagram": edge_diagram,
    "edges": edge_table,
    "ranks": rank_table,
    "error-tree": error_tree,
    "errors": error_list,
    "records": record_list,
    "evidence": evidence_table,
    "job-settings": job_setting_table,
    "contract-routes": lambda: route_table(ours=False),
    "journal-routes": lambda: route_table(ours=True),
}
"""What fills a block, by its name."""


def main() -> None:
    """Fill every block of every page, and write the pages that are made whole."""
    reference.write(DOCS / "reference")
    for page in sorted(DOCS.rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        filled = fill(text)
        if filled != text:
            page.write_text(filled, encoding="utf-8")


if __name__ == "__main__":
    main()
