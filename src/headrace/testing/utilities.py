"""The test harness, by the field's module name."""

from .harness import headrace_test_harness as headrace_test_harness

prefect_test_harness = headrace_test_harness
"""The name that tests of flows already import; they go on with another module name alone."""
