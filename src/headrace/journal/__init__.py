"""Journals: append-only JSON Lines files, one for each run process, and the folder they lie in."""
