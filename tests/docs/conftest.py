"""Readers of pages: the same as those of examples."""

from __future__ import annotations

from ..examples.conftest import reader as reader
