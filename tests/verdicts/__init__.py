"""How runs may end: a test a row of the table of verdicts, with real processes, files and servers."""
