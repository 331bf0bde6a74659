"""What the reference pages list is what the code has."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from headrace.cli.reference import PAGES
from headrace.model.states import KINDS, StateType
from headrace.model.transitions import EDGES
from headrace.settings import TABLE
from tools import docs

from .pages import DOCS, pages

REFERENCE = DOCS / "reference"


def headings(name: str) -> list[str]:
    """Return the headings of a page of the reference."""
    text = (REFERENCE / name).read_text(encoding="utf-8")
    return [heading.strip("`") for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)]


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.stem)
def test_what_is_made_from_code_is_what_the_code_makes(page: Path) -> None:
    """After a change: make docs"""
    text = page.read_text(encoding="utf-8")

    assert docs.fill(text) == text


def test_every_block_has_its_place() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in pages())

    assert sorted(docs.BLOCKS) == sorted(re.findall(r"<!-- made: ([a-z-]+) -->", text))


def test_a_block_that_nobody_makes_is_found() -> None:
    with pytest.raises(KeyError, match="nonsense"):
        docs.fill("<!-- made: nonsense -->\n<!-- end -->\n")


def test_every_state_and_every_edge_is_told() -> None:
    text = (REFERENCE / "states.md").read_text(encoding="utf-8")

    for kind in KINDS:
        assert f"| `{kind.name}` | `{kind.type.value}` |" in text
    for edge in EDGES:
        assert edge.why in text
        assert re.search(rf"── {edge.verb} ─+▶ {edge.after.value}$", text, re.MULTILINE), edge
    assert all(state.value in text for state in StateType)


def test_every_error_has_its_heading() -> None:
    found = headings("errors.md")

    for kind in docs.error_kinds():
        assert kind.__name__ in found
    assert "TerminationSignal" in found


def test_every_code_of_an_error_is_its_own() -> None:
    codes = [kind.code for kind in docs.error_kinds()]  # type: ignore[attr-defined]  # each has one

    assert len(codes) == len(set(codes))


def test_every_record_and_every_field_is_told() -> None:
    text = (REFERENCE / "journal.md").read_text(encoding="utf-8")
    parts = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE))

    for kind in docs.record_kinds():
        told = re.findall(r"^\| `(\w+)` \|", parts[kind.__struct_config__.tag], re.MULTILINE)
        assert list(inspect.get_annotations(kind)) == told


def test_every_setting_has_its_heading() -> None:
    found = headings("settings.md")

    for setting in TABLE:
        assert setting.name in found


def test_every_operation_is_told() -> None:
    text = (REFERENCE / "api.md").read_text(encoding="utf-8")
    operations = docs.routes()

    assert len(operations) > 40
    for method, path, sentence in operations:
        assert f"| `{method} {path}` |" in text
        assert sentence, f"{method} {path} has no docstring"


def test_the_pages_made_whole_are_there() -> None:
    for name in PAGES:
        assert (REFERENCE / name).exists()
