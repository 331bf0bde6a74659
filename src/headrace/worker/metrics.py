"""What a worker tells Prometheus: ``GET /metrics`` beside its health, with the same facts as numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


def text(status: int, said: Mapping[str, Any], polls: Mapping[bool, int]) -> bytes:
    """Return the figures of a worker whose health is ``said``; ``polls`` tells how many were answered, and were not."""
    registry = CollectorRegistry()
    registry.register(_Worker(status, said, polls))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


class _Worker(Collector):
    def __init__(self, status: int, said: Mapping[str, Any], polls: Mapping[bool, int]) -> None:
        self._status = status
        self._said = said
        self._polls = polls

    def collect(self) -> Iterator[Metric]:
        names, who = ["worker", "work_pool"], [self._said["worker"], self._said["pool"] or ""]
        gauges = {
            "headrace_worker_healthy": ("1 while its loop turns.", float(self._status == 200)),
            "headrace_worker_runs": ("Runs that it started and that have not ended.", self._said["runs"]),
        }
        since_s = self._said["last_poll_seconds"]
        if since_s is not None:
            gauges["headrace_worker_last_poll_seconds"] = ("Seconds since the server last answered.", since_s)
        for name, (meaning, value) in gauges.items():
            gauge = GaugeMetricFamily(name, meaning, labels=names)
            gauge.add_metric(who, value)
            yield gauge
        asked = CounterMetricFamily(
            "headrace_worker_polls",
            "How often it asked for runs, by whether an answer came.",
            labels=[*names, "answered"],
        )
        for answered in (True, False):
            asked.add_metric([*who, str(answered).lower()], self._polls.get(answered, 0))
        yield asked
