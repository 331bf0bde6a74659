"""The demo's parts: a function each, which says what happened or raises ``Unearned``."""
