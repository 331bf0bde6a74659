"""A server that counts its SQL statements: ``counted_server.py PACKAGE COUNTS``.

Each statement that the library hands to the database's driver is counted, from whatever thread. ``COUNTS`` is a file
of three numbers of 8 bytes: statements that read, statements that write, and transactions that wrote.
BEGIN, COMMIT, ROLLBACK and savepoints are no statements here.
"""

import mmap
import struct
import sys
import threading

from sqlalchemy import event
from sqlalchemy.engine import Engine

_BOUNDS = {"BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "PRAGMA"}
_WRITING = {"INSERT", "UPDATE", "DELETE", "REPLACE", "CREATE", "ALTER", "DROP"}
READS, WRITES, TRANSACTIONS = 0, 8, 16

with open(sys.argv[2], "wb+") as _file:
    _file.write(bytes(24))
    _file.flush()
    _counts = mmap.mmap(_file.fileno(), 24)
_wrote = set()
_one_at_a_time = threading.Lock()


def _add(place):
    with _one_at_a_time:
        struct.pack_into("<q", _counts, place, struct.unpack_from("<q", _counts, place)[0] + 1)


@event.listens_for(Engine, "before_cursor_execute")
def _executing(connection, _cursor, statement, _parameters, _context, _executemany):
    verb = statement.split(None, 1)[0].upper()
    if verb in _WRITING:
        _add(WRITES)
        _wrote.add(id(connection))
    elif verb not in _BOUNDS:
        _add(READS)


@event.listens_for(Engine, "commit")
def _committing(connection):
    if id(connection) in _wrote:
        _wrote.discard(id(connection))
        _add(TRANSACTIONS)


@event.listens_for(Engine, "rollback")
def _rolling_back(connection):
    _wrote.discard(id(connection))


if __name__ == "__main__":
    from headrace.server.__main__ import main

    sys.argv[1:] = []
    sys.exit(main())
