"""The tests: folders mirror the package; the word of each test is its name."""
