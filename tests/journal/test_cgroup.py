"""What is read of a control group, in both versions of its files."""

from __future__ import annotations

from pathlib import Path

from headrace.journal import cgroup


def test_version_2_tells_peak_limit_and_kills(tmp_path: Path) -> None:
    """The files lie beside the counter of events."""
    counter = tmp_path / "memory.events.local"
    counter.write_text("low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\noom_group_kill 0\n")
    (tmp_path / "memory.peak").write_text("123456\n")
    (tmp_path / "memory.max").write_text("max\n")

    assert cgroup.oom_kills(counter) == 2
    assert cgroup.peak_bytes(counter) == 123456
    assert cgroup.limit_bytes(counter) is None
    (tmp_path / "memory.max").write_text("500000\n")
    assert cgroup.limit_bytes(counter) == 500000


def test_version_1_has_other_names_and_a_number_for_no_limit(tmp_path: Path) -> None:
    """No limit is a number that no machine reaches."""
    counter = tmp_path / "memory.oom_control"
    counter.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    (tmp_path / "memory.max_usage_in_bytes").write_text("77\n")
    (tmp_path / "memory.limit_in_bytes").write_text("9223372036854771712\n")

    assert cgroup.oom_kills(counter) == 1
    assert cgroup.peak_bytes(counter) == 77
    assert cgroup.limit_bytes(counter) is None


def test_what_is_not_told_is_none(tmp_path: Path) -> None:
    """An older kernel, or no control group at all."""
    assert cgroup.oom_kills(tmp_path / "memory.events") is None
    assert cgroup.peak_bytes(tmp_path / "memory.events") is None
    assert cgroup.peak_bytes(None) is None
    assert cgroup.limit_bytes(None) is None
    assert cgroup.oom_kills(None) is None
