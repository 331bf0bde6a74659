"""How an older database becomes one of today: Alembic's revisions, applied in order."""

from __future__ import annotations

from pathlib import Path

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection


def _script() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return ScriptDirectory.from_config(config)


def head() -> str:
    """Return the newest revision."""
    newest = _script().get_current_head()
    assert newest is not None
    return newest


def knows(revision: str | None) -> bool:
    """Say whether a database at this revision can be migrated; ``None`` is one without tables."""
    return revision is None or any(script.revision == revision for script in _script().walk_revisions())


def upgrade(connection: Connection, to: str = "head") -> None:
    """Apply every revision that is missing, in the transaction of ``connection``."""
    script = _script()

    def missing(revision: str, _context: MigrationContext) -> object:
        return script._upgrade_revs(to, revision)

    with EnvironmentContext(Config(), script, fn=missing) as environment:
        environment.configure(connection=connection, transactional_ddl=False)
        environment.run_migrations()
