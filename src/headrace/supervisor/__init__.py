"""The supervisor: one small process beside each run process. It ships the journal, watches, and gives the verdict."""
