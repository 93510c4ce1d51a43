# Every target works from a bare clone: it makes .venv, installs tested versions and goes on. Written for GNU make 3.81.
#   make quickstart | test | test-full | lint | clean        PYTHON=python3.12 chooses the interpreter of a new .venv

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# The suite's small tensors gain nothing from threads, and the workers of xdist would fight for cores.
RUN    := OMP_NUM_THREADS=1 $(BIN)/python -m
LINTED := projects tools tests configs setup.py

.PHONY: install quickstart test test-full lint format wheel clean

install: $(STAMP)

# The stamp holds the seconds that the installation took.
$(STAMP): requirements/constraints.txt setup.py
	set -e; start=$$(date +%s); \
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV); \
	$(BIN)/python -c "import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 14) else \
	    'Python 3.11 to 3.13 is needed: rm -r $(VENV), then make PYTHON=python3.12 ...')"; \
	$(BIN)/python -m pip install --quiet --upgrade pip setuptools wheel; \
	$(BIN)/python -m pip install --quiet --constraint requirements/constraints.txt --editable ".[openmmlab,dev]"; \
	echo $$(($$(date +%s) - start)) > $(STAMP)

quickstart: $(STAMP)
	$(BIN)/python tools/quickstart.py --install-seconds "$$(cat $(STAMP))"

test: $(STAMP)
	$(RUN) pytest -n 2 -m "not slow"

test-full: $(STAMP)
	$(RUN) pytest -n 2

lint: $(STAMP)
	$(BIN)/ruff format --check $(LINTED)
	$(BIN)/ruff check $(LINTED)
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix $(LINTED)
	$(BIN)/ruff format $(LINTED)

wheel: $(STAMP)
	$(BIN)/python -m build --wheel

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache work_dirs
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +
