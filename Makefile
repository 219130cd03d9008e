# Hone: the commands that stay stable. `make help` lists them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PORT ?= 8000
SEED ?= 1
SHUFFLE ?=
TEST_WORKERS ?= 2
export PYTHONUNBUFFERED := 1

.PHONY: help install up demo test test-fast lint format bench bench-rollouts bench-engine bench-credit \
	bench-workbench bench-pages doctor screenshots clean

help: ## list the commands
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

install: $(VENV)/.installed ## make the virtual environment with pinned dependencies

# torch goes first and by its exact pin: a looser range could fetch another build.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Hone needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.11"; exit 1; }
	@echo "Installing into $(VENV) (once; a few minutes)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q torch==2.13.0
	@$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	@touch $@

up: install ## serve at http://127.0.0.1:8000 with workers and the demo job; Ctrl-C ends everything
	@exec $(BIN)/python manage.py up --port $(PORT)

demo: install ## run the demo job without a browser; the last line is one JSON object
	@HONE_DATA_DIR="$(CURDIR)/var/demo" $(BIN)/python manage.py demo --seed $(SEED) $(if $(SHUFFLE),--shuffle)

test: lint ## lint, types and all tests, by two processes; TEST_WORKERS=0 for one after the other
	@$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder

test-fast: install ## the tests that end within about a minute
	@$(BIN)/python -m pytest -m "not slow and not browser"

lint: install ## ruff, mypy, import-linter, migrations
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports
	@$(BIN)/mypy
	@HONE_DATA_DIR="$(CURDIR)/var/lint" $(BIN)/python manage.py makemigrations --check --dry-run

format: install ## put the code into shape
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: bench-rollouts bench-engine bench-credit bench-workbench bench-pages ## every side-by-side measurement

bench-rollouts: install ## rollouts: overlapped and cached, against one by one and computed anew
	@$(BIN)/python -m benchmarks.rollouts

bench-engine: $(VENV)/.bench ## rollouts, steps, memory and training against TRL; about 20 minutes
	@$(BIN)/python -m benchmarks.engine

bench-credit: install ## ways of assigning credit, against each other
	@$(BIN)/python -m benchmarks.credit

bench-workbench: install ## the sandbox for graders, and datasets at real size
	@$(BIN)/python -m benchmarks.workbench

bench-pages: install ## the pages with a million trajectories and 25 viewers; needs PostgreSQL; 10 minutes
	@$(BIN)/python -m benchmarks.pages

# What only the comparison needs; the pins keep torch and transformers as they are.
$(VENV)/.bench: $(VENV)/.installed
	@$(BIN)/python -m pip install -q -c constraints.txt -e '.[bench]'
	@touch $@

doctor: install ## what works on this machine, and how to mend what does not
	@$(BIN)/python manage.py doctor

screenshots: install ## a picture of every page, wide and narrow, light and dark, in var/screenshots
	@$(BIN)/python -m pytest tests/e2e -m browser --screenshots-to var/screenshots

clean: ## remove the virtual environment and caches (not var/, which holds your data)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache *.egg-info
