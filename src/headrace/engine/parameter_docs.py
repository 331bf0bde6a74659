"""What a docstring says of each parameter, in the three forms that people write."""

from __future__ import annotations

import re
import textwrap

_GOOGLE = re.compile(r"^(?:Args|Arguments|Parameters|Params):[ \t]*$", re.MULTILINE)
_GOOGLE_ENTRY = re.compile(r"^\*{0,2}(\w+)(?:[ \t]*\([^)]*\))?:[ \t]*(.*)$")
_NUMPY = re.compile(r"^Parameters[ \t]*\n-{3,}[ \t]*$", re.MULTILINE)
_NUMPY_ENTRY = re.compile(r"^\*{0,2}(\w+)(?:[ \t]*:.*)?$")
_SPHINX = re.compile(
    r"^[ \t]*:param(?:[ \t][^:\n]*?)?[ \t]\*{0,2}(\w+):[ \t]*(.*(?:\n(?:[ \t]+\S.*))*)", re.MULTILINE
)


def descriptions(doc: str) -> dict[str, str]:
    """Return ``{parameter: its description}`` from a docstring whose indentation is cleaned; empty without any."""
    return {name: text for name, text in (_sphinx(doc) | _numpy(doc) | _google(doc)).items() if text}


def _google(doc: str) -> dict[str, str]:
    found = _GOOGLE.search(doc)
    if found is None:
        return {}
    block = re.split(r"\n(?=\S)", doc[found.end() :].lstrip("\n"), maxsplit=1)[0]
    if not block.startswith((" ", "\t")):
        return {}
    return _entries(textwrap.dedent(block), _GOOGLE_ENTRY, inline=True)


def _numpy(doc: str) -> dict[str, str]:
    found = _NUMPY.search(doc)
    if found is None:
        return {}
    block = re.split(r"\n(?=\S[^\n]*\n-{3,})", doc[found.end() :].lstrip("\n"), maxsplit=1)[0]
    return _entries(block, _NUMPY_ENTRY, inline=False)


def _entries(block: str, head: re.Pattern[str], *, inline: bool) -> dict[str, str]:
    """Read entries whose heads begin a line, each with indented lines below."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in block.splitlines():
        match = head.match(line)
        if match is not None:
            lines = found.setdefault(match[1], [match[2]] if inline else [])
        else:
            lines.append(line.strip())
    return {name: "\n".join(text).strip() for name, text in found.items()}


def _sphinx(doc: str) -> dict[str, str]:
    return {name: "\n".join(map(str.strip, text.splitlines())) for name, text in _SPHINX.findall(doc)}
