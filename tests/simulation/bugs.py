"""Known bugs that a switch plants in the simulated server, so that it is shown that the simulation would find them."""

from __future__ import annotations

from enum import Enum


class Bug(str, Enum):
    """A mistake that systems of this kind make."""

    COUNT_THEN_START = "count-then-start"
    """Free slots are counted in one transaction and given away in another."""
    UNFENCED_LATE_REPORT = "unfenced-late-report"
    """What an older attempt reports late is taken for the newest attempt's word."""
    LEASE_OF_THE_RUN = "lease-not-tied-to-the-attempt"
    """The lease is the run's: any attempt's sign of life keeps it, any attempt's silence ends it."""
    CURSOR_BEFORE_COMMIT = "cursor-moved-before-commit"
    """A journal's offset is committed before the records that it stands for."""
    START_UNCONFIRMED = "start-before-the-claim-is-confirmed"
    """A worker starts what it was given, though the server may have taken it back meanwhile."""
    REPEATED_WRITE = "retry-of-a-non-idempotent-write"
    """A transaction whose outcome is not known is carried out again as it was worked out the first time."""
