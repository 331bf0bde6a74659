"""A short soak: the long one is `make soak`."""

from __future__ import annotations

from pathlib import Path

import pytest

from .soak import ENDS, Soak


@pytest.mark.timeout(300)
def test_a_short_soak_finds_no_fault(tmp_path: Path) -> None:
    """Every run ends in the state that it earned; no slot is held, no process left, no journal unshipped."""
    found = Soak(tmp_path, seed=3, database_url=None, say=lambda _: None).run(45.0)

    assert found.faults == [], found.told()
    assert found.runs >= len(ENDS), found.told()
    assert sum(found.kills.values()) >= 5, found.told()
