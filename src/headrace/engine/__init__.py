"""The engine: runs user code and writes down what happens. It speaks to nobody but the journal."""
