"""How an older database becomes one of today: Alembic's revisions, applied in order.

A migration is *pre* or *post*, as its file is named. Code of the release before goes on beside a pre migration, which only
adds. A post migration takes away, or forbids, what older code still uses: it waits until no such code works on the database,
and says which is the oldest that may go on after it, in ``serves_since``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.script import Script, ScriptDirectory
from sqlalchemy import text
from sqlalchemy.engine import Connection

FOLDERS = [Path(__file__).parent / "versions"]
"""Where the revisions are; tests add a folder with some of a release to come."""


class Migration(NamedTuple):
    """One revision, for whoever decides whether to apply it."""

    revision: str
    does: str
    """A sentence for people."""
    serves_since: str | None
    """Of a post migration: the revision of the oldest code that may go on after it. ``None``: it is a pre migration."""


def _script() -> ScriptDirectory:
    return ScriptDirectory(str(Path(__file__).parent), version_locations=[str(each) for each in FOLDERS])


def head() -> str:
    """Return the newest revision."""
    newest = _script().get_current_head()
    assert newest is not None
    return newest


def knows(revision: str | None) -> bool:
    """Say whether a database at this revision can be migrated; ``None`` is one without tables."""
    return revision is None or any(each.revision == revision for each in after(None))


def after(revision: str | None) -> list[Migration]:
    """Return the migrations that come after a revision that is known, the first one first; ``None``: all."""
    every = [
        Migration(each.revision, each.doc, getattr(each.module, "serves_since", None))
        for each in _script().walk_revisions()
    ]
    revisions = [each.revision for each in every]
    return every[: None if revision is None else revisions.index(revision)][::-1]


def before_the_first_post(missing: Sequence[Migration]) -> list[Migration]:
    """Return those of the migrations that can be applied while older code works on the database."""
    return list(takewhile(lambda each: each.serves_since is None, missing))


def upgrade(connection: Connection, to: str = "head") -> None:
    """Apply every revision that is missing up to ``to``, pre or post, in the transaction of ``connection``."""
    script = _script()

    def missing(revision: str, _context: MigrationContext) -> object:
        return script._upgrade_revs(to, revision)

    with EnvironmentContext(Config(), script, fn=missing) as environment:
        environment.configure(connection=connection, transactional_ddl=False, on_version_apply=_record)
        environment.run_migrations()


def _record(ctx: MigrationContext, step: MigrationInfo, heads: object, run_args: object) -> None:  # noqa: ARG001
    """Write down what a post migration says of older code, in the transaction that carries it out."""
    assert isinstance(step.up_revision, Script) and ctx.connection is not None
    since = getattr(step.up_revision.module, "serves_since", None)
    if since is not None:
        later = text("UPDATE alembic_version SET serves_since = :since WHERE serves_since < :since")
        ctx.connection.execute(later, {"since": since})
