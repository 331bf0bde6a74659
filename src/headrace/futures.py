"""Futures of submitted tasks, and ways to wait for several."""

from .engine.futures import HeadraceFuture as HeadraceFuture
from .engine.futures import HeadraceFutureList as HeadraceFutureList
from .engine.futures import as_completed as as_completed
from .engine.futures import resolve_futures_to_results as resolve_futures_to_results
from .engine.futures import resolve_futures_to_states as resolve_futures_to_states
from .engine.futures import wait as wait
