"""Tests of getting code and loading flows."""
