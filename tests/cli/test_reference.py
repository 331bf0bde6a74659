"""The reference pages say what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.cli.app import TREE, load
from headrace.cli.reference import PAGES

DOCS = Path(__file__).parents[2] / "docs" / "reference"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_code_makes(name: str) -> None:
    """After a change: python -m headrace.cli.reference docs/reference"""

    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name]()


@pytest.mark.parametrize("name", TREE)
def test_the_tree_says_of_a_command_what_its_help_says(name: str) -> None:
    """The sentence stands twice so that --help loads no command."""
    assert (load(TREE[name]).help or "").split("\n")[0].strip() == TREE[name].help


def test_every_command_has_a_sentence_and_an_example() -> None:
    """The help of a command without them helps nobody."""
    import click

    def leaves(command: click.Command) -> list[click.Command]:
        if isinstance(command, click.Group):
            return [leaf for child in command.commands.values() for leaf in leaves(child)]
        return [command]

    for name, row in TREE.items():
        for leaf in leaves(load(row)):
            assert (leaf.help or "").strip().split("\n")[0].endswith((".", ")")), (name, leaf.name)
            if name != "demo":
                assert (leaf.epilog or "").startswith("Example: headrace "), (name, leaf.name)
