"""Tests of journals: real files, real processes, real limits."""
