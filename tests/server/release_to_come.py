"""Code of a release to come: today's, with made-up migrations more, as long as a test is within it."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from headrace.server.store import migrations, schema

_FILE = '''
    """{does}"""

    import sqlalchemy as sa
    from alembic import op

    revision = "{revision}"
    down_revision = "{before}"
    branch_labels = None
    depends_on = None
    {since}

    def upgrade():
    {body}
'''


class Made(NamedTuple):
    """A migration of the release to come."""

    kind: str
    """``pre`` or ``post``."""
    does: str
    body: str


ADDS = Made(
    "pre",
    "Give runs a colour, and journals a weight.",
    """
    op.add_column("flow_runs", sa.Column("colour", sa.Text()))
    op.create_index("ix_flow_runs_colour", "flow_runs", ["colour"])
    op.add_column("journals", sa.Column("weight", sa.Integer(), nullable=False, server_default="7"))
    op.create_table("colours", sa.Column("name", sa.Text(), primary_key=True))
    """,
)
"""What code of today goes on beside."""

TAKES = Made("post", "Forget why deployments were paused.", 'op.drop_column("deployments", "pause_reason")')
"""What it does not go on beside: it reads and writes that column."""


@contextlib.contextmanager
def release_to_come(folder: Path, *made: Made) -> Iterator[list[str]]:
    """Be code of a release that has these migrations more; give their revisions. Processes started within are of today."""
    folder.mkdir(exist_ok=True)
    revisions = [f"{int(schema.HEAD) + number:04}" for number in range(1, len(made) + 1)]
    needed = since = schema.HEAD
    for one, revision, before in zip(made, revisions, [schema.HEAD, *revisions], strict=False):
        if one.kind == "pre":
            needed = revision
        else:
            since = needed
        text = textwrap.dedent(_FILE).format(
            does=one.does,
            revision=revision,
            before=before,
            since=f'serves_since = "{since}"' if one.kind == "post" else "",
            body=textwrap.indent(textwrap.dedent(one.body).strip(), "    "),
        )
        (folder / f"r{revision}_{one.kind}_made_up.py").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrations, "FOLDERS", [*migrations.FOLDERS, folder])
        for name, value in (("HEAD", revisions[-1]), ("NEEDED", needed), ("SERVES_SINCE", since)):
            patch.setattr(schema, name, value)
        yield revisions
