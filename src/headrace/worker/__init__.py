"""Carries out the runs of a work pool: claims them and starts a supervisor for each."""
