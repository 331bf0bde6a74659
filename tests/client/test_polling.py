"""Polls behind a proxy that is less patient than they are."""

from __future__ import annotations

import pytest

from headrace.client.polling import Polling
from headrace.errors import ServerUnavailable


class Way:
    """A server that answers when it is asked to, and a proxy that gives up after ``patience`` seconds."""

    def __init__(self, patience: float, *, late: float = 0.0, status: int = 504) -> None:
        self.now = 0.0
        self.waits: list[float] = []
        self._patience, self._late, self._status = patience, late, status

    def __call__(self, wait: float) -> str:
        """Let the time pass that one poll takes."""
        self.waits.append(wait)
        took = wait + self._late
        self.now += min(took, self._patience)
        if took > self._patience:
            raise ServerUnavailable("a proxy gave up", status=self._status)
        return "answer"


def ask(polling: Polling, way: Way, wait: float = 25.0) -> str:
    """Poll once."""
    return polling.ask(wait, way, "nothing")


def test_a_patient_way_is_waited_on_as_asked() -> None:
    """Nothing is learned where nothing is to be learned."""
    way = Way(60.0)
    polling = Polling(lambda: way.now)

    assert [ask(polling, way) for _ in range(3)] == ["answer"] * 3
    assert way.waits == [25.0] * 3


def test_an_impatient_proxy_is_met_once() -> None:
    """It costs one poll; later ones are answered before it gives up."""
    way = Way(5.0)
    polling = Polling(lambda: way.now)

    assert [ask(polling, way) for _ in range(3)] == ["nothing", "answer", "answer"]
    assert way.waits == [25.0, 4.0, 4.0]
    assert ask(polling, way, 0.0) == "answer"


def test_a_server_that_hangs_is_away_all_the_same() -> None:
    """What takes longer than the server was allowed to wait is no impatience."""
    way = Way(5.0, late=100.0)
    polling = Polling(lambda: way.now)

    assert ask(polling, way) == "nothing"
    with pytest.raises(ServerUnavailable):
        ask(polling, way)


@pytest.mark.parametrize(("patience", "status"), [(5.0, 503), (0.01, 504)])
def test_other_refusals_are_told(patience: float, status: int) -> None:
    """A server that is away, and a proxy that has nobody behind it."""
    way = Way(patience, status=status)
    with pytest.raises(ServerUnavailable):
        ask(Polling(lambda: way.now), way)
