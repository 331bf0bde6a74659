"""The supervisor's parts, by themselves."""
