"""For tests of flows: a private home and what ran in it, with no process to start and nothing to clean up."""

from .harness import Harness as Harness
from .harness import headrace_test_harness as headrace_test_harness
