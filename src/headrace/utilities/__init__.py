"""Kept for imports by the field's names; the things themselves live in the engine."""
