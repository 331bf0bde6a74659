"""The network of these tests is cut as a cable is: what was sent meanwhile never arrives, also from who is dead by then."""

from __future__ import annotations

import contextlib
import socket

from .server import Network


def test_what_is_sent_while_it_is_cut_never_arrives() -> None:
    """The kernel answers for a listener that accepts nobody, and keeps the bytes: they are not to come to the server later."""
    with socket.create_server(("127.0.0.1", 0)) as server, contextlib.closing(_network(server)) as network:
        network.cut()
        lost = socket.create_connection(("127.0.0.1", network.port), timeout=5)
        lost.sendall(b"from a lost host")
        lost.close()
        network.mend()
        with socket.create_connection(("127.0.0.1", network.port), timeout=5) as later:
            later.sendall(b"from one that came back")
            server.settimeout(5)
            arrived, _ = server.accept()
            with arrived:
                arrived.settimeout(5)

                assert arrived.recv(100) == b"from one that came back"


def _network(server: socket.socket) -> Network:
    return Network(server.getsockname()[1])
