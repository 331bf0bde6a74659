"""Proposals: what a person or a foreign client asks of a run, and how it is answered."""
