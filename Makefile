# Each target works alone on a machine that has only make and Python 3.10 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help train sweep test lint format benchmark clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-10s %s\n", $$1, $$2 }'

train: $(VENV)/installed ## train experiment=sine: results, a picture of the forecast, and what to try next
	$(BIN)/rnnlab train experiment=sine
	@echo 'rnnlab is $(BIN)/rnnlab here; after ". $(BIN)/activate" it is found by its name'

sweep: $(VENV)/installed ## a small sweep: 24 runs, a live table, a leaderboard, a page of curves
	$(BIN)/rnnlab train -m experiment=sine_sweep
	$(BIN)/rnnlab report outputs/sine_sweep --rows 3 --html outputs/sine_sweep/report.html

test: $(VENV)/installed lint ## ruff, the type checker, and all tests, in parallel
	$(BIN)/python -m pytest -n logical --dist loadfile

lint: $(VENV)/installed ## ruff and the type checker alone
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/installed ## let ruff put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmark: $(VENV)/installed ## the figures that the README quotes, measured here
	$(BIN)/python scripts/benchmark.py

clean: ## remove the virtual environment and all caches; outputs stay
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .mypy_cache

$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("rnnlab needs Python 3.10 or newer, and $(PYTHON) is " + sys.version.split()[0] + "; name another one: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
