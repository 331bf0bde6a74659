"""A real PgBouncer in transaction mode before a PostgreSQL of the tests, in a folder of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from pathlib import Path

import psycopg

from headrace.testing.postgres import Cluster

from .nginx import free_ports
from .trial import wait_until

# A company's PgBouncer has its defaults. Here few connections are shared by all; and after a crash of PostgreSQL
# it looks again after a second, not after 15.
_CONFIG = """
[databases]
* = host={cluster} port=5432
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = 4
server_login_retry = 1
logfile = {folder}/log
pidfile = {folder}/pid
stats_users = headrace
"""


class PgBouncer:
    """Stands before a cluster; :meth:`url` names a database of it by way of the pooler."""

    def __init__(self, program: str, cluster: Cluster) -> None:
        self.port = free_ports(1)[0]
        self._scrap = tempfile.TemporaryDirectory(prefix="headrace-pgb-")
        self._folder = Path(self._scrap.name)
        (self._folder / "users").write_text('"headrace" ""\n', encoding="ascii")
        config = self._folder / "pgbouncer.ini"
        config.write_text(_CONFIG.format(cluster=cluster.folder, port=self.port, folder=self._folder))
        # As root it refuses to run, and only the cluster's account may reach the cluster's socket.
        owner = cluster.folder.stat()
        account = {"user": owner.st_uid, "group": owner.st_gid} if os.geteuid() == 0 else {}
        for path in (self._folder, *self._folder.iterdir()):
            os.chown(path, owner.st_uid, owner.st_gid)
        self._process = subprocess.Popen(
            [program, "-q", str(config)],
            **account,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_until(self._answers, f"PgBouncer to answer\n{self.told()}", 20.0)

    def url(self, database: str) -> str:
        """Return the URL of a database by way of the pooler, as the documents say to write it."""
        return f"postgresql://headrace@127.0.0.1:{self.port}/{database}?pooler=transaction"

    def shared(self, database: str) -> dict[str, int]:
        """Return how many transactions were carried, and by how many connections to PostgreSQL at most."""
        with self._console() as console:
            pools = console.execute("SHOW POOLS").fetchall()
            stats = console.execute("SHOW STATS").fetchall()
        servers = [row for row in pools if row[0] == database]
        counts = [int(row[1]) for row in stats if row[0] == database]
        return {"transactions": sum(counts), "servers": sum(sum(map(int, row[5:10])) for row in servers)}

    def told(self) -> str:
        """Return its log."""
        log = self._folder / "log"
        return log.read_text(errors="replace") if log.exists() else ""

    def close(self) -> None:
        """End it."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(20)
        self._scrap.cleanup()

    def _console(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            f"postgresql://headrace@127.0.0.1:{self.port}/pgbouncer",
            autocommit=True,
            cursor_factory=psycopg.ClientCursor,
            prepare_threshold=None,
        )

    def _answers(self) -> bool:
        assert self._process.poll() is None, f"PgBouncer ended.\n{self.told()}"
        try:
            with self._console():
                return True
        except psycopg.OperationalError:
            return False
