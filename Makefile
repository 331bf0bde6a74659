# Every command of the project. `make` alone lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A machine may forbid compiled bytecode; start-up times are only fair with it.
export PYTHONDONTWRITEBYTECODE :=
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test simulate check format docs soak faults bench lock clean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | awk -F'\t' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: $(VENV)/.ready ## make .venv with everything in it

$(VENV)/.ready: requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "Headrace needs Python 3.10 or newer; $(PYTHON) is older. Try: make PYTHON=python3.11 $(MAKECMDGOALS)"; rm -rf $(VENV); exit 1; }
	@echo "Setting up $(VENV) (once; about half a minute) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: setup ## run real flows: one fails, one is killed, each is shown in the state it earned
	@$(BIN)/headrace demo

test: setup ## run the tests (makes its own databases; no root)
	@$(BIN)/python -m pytest -n auto --dist worksteal $(PYTEST_ARGS)

SEED ?= 1
RUNS ?= 1000

simulate: setup ## drive the rules through seeded storms in virtual time (SEED=7 RUNS=1 VERBOSE=1 LARGE=1 BUG=name)
	@$(BIN)/python -m tests.simulation --seed $(SEED) --runs $(RUNS) $(if $(VERBOSE),--verbose) $(if $(LARGE),--large) $(if $(BUG),--bug $(BUG))

check: setup ## everything before a push: format, lint, types, imports, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory test

format: setup ## format the code and mend what the linter can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: setup ## make anew what the documents can be made of: commands, settings, states, errors, records, routes
	$(BIN)/python -m tools.docs

soak: setup ## ten minutes of runs that end in all ways while workers, supervisors and the server are killed
	@$(BIN)/python -m tests.soak --minutes 10

SEEDS ?= 100

faults: setup ## kill the server at random instants under runs, then it and its PostgreSQL by turns (SEEDS=100 each)
	@$(BIN)/python -m tests.faults --seeds $(SEEDS)
	@$(BIN)/python -m tests.faults --seeds $(SEEDS) --postgres --server

bench: setup ## measure, beside Prefect from its own environment; prints the table of docs/reference/benchmarks.md
	@$(BIN)/python -m benchmarks

lock: ## write requirements.lock anew (needs uv)
	uv pip compile pyproject.toml --group dev --extra postgres --universal --python-version 3.10 \
	  --generate-hashes --no-header --no-emit-index-url --no-annotate -o requirements.lock -q

clean: ## remove what the commands above made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
