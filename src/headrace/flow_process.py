"""The process that carries out one run for a worker: fetch the code, load the flow, run it."""
