"""Tests of the words and the rules: no files, no processes, no clocks."""
