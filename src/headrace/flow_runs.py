"""Pause, suspend, resume and await flow runs."""
