"""Which journal may speak of a run: the fence between attempts, as pure rules over who owns it and how far it is."""

from __future__ import annotations


def may_report(owner: str | None, standing: int, journal: str, attempt: int) -> bool:
    """Say whether a journal may tell states of a run: its owner may, and an older attempt may add to the history.

    ``owner`` is the journal that owns the run (``None``: a foreign client reports for it), ``standing`` the attempt
    of the state that stands, ``attempt`` the journal's own.
    """
    return owner is not None and (owner == journal or attempt < standing)


def may_take_over(owner: str | None, standing: int, attempt: int) -> bool:
    """Say whether a journal that makes a run known becomes its owner: nobody owns it, or only an older attempt does."""
    return owner is None or attempt > standing


def is_silent(last_seen_us: int, closed_us: int | None, before_us: int) -> bool:
    """Say whether a journal's process may be presumed lost: it has not ended, and nobody heard of it since ``before_us``."""
    return closed_us is None and last_seen_us < before_us


UNCONFIRMED_S = 5.0
"""How long a worker may take to confirm a first attempt."""

_DOUBLED_AT_MOST = 5


def is_unconfirmed(given_us: int, attempt: int, now_us: int) -> bool:
    """Say whether an attempt that nobody has confirmed may be taken back.

    A later attempt has longer, up to 160 s: the one before may have been taken back only because the way to the worker
    is slow, and what is given over such a way again and again must be begun at last.
    """
    patience_s = UNCONFIRMED_S * 2.0 ** min(max(attempt - 1, 0), _DOUBLED_AT_MOST)
    return now_us - given_us > int(patience_s * 1e6)
