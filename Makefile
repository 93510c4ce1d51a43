# Every target works from a bare clone: it makes .venv, installs tested versions and goes on. Written for GNU make 3.81.
#   make quickstart | test | test-full | soak | lint | docs | clean       PYTHON=python3.12 chooses the interpreter of a new .venv

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
DEV    := $(VENV)/.installed-dev
# The suite's small tensors gain nothing from threads, and the workers of xdist would fight for cores.
RUN    := OMP_NUM_THREADS=1 $(BIN)/python -m
LINTED := projects benchmarks tools tests configs examples docs setup.py

.PHONY: install install-dev quickstart test test-full soak lint format docs wheel clean

# Each stamp holds the seconds that its part of the installation took.
INSTALL := set -e; start=$$(date +%s); install() { $(BIN)/python -m pip install --quiet "$$@"; }

install: $(STAMP)

$(STAMP): requirements/constraints.txt setup.py
	@echo "Installing into $(VENV): one to three minutes, 7 GB"
	@$(INSTALL); \
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV); \
	$(BIN)/python -c "import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 14) else \
	    'Python 3.11 to 3.13 is needed: rm -r $(VENV), then make PYTHON=python3.12 ...')"; \
	install --upgrade pip setuptools wheel; \
	install --constraint requirements/constraints.txt --editable ".[openmmlab]"; \
	echo $$(($$(date +%s) - start)) > $(STAMP); \
	echo "Installed; source $(VENV)/bin/activate makes it the Python of a terminal."

install-dev: $(DEV)

$(DEV): $(STAMP)
	@echo "Installing what development needs"
	@$(INSTALL); \
	install --constraint requirements/constraints.txt --editable ".[openmmlab,dev]"; \
	echo $$(($$(date +%s) - start)) > $(DEV)

quickstart: $(STAMP)
	$(BIN)/python tools/quickstart.py --install-seconds "$$(cat $(STAMP))"

test: $(DEV)
	$(RUN) pytest -n 2 -m "not slow"

test-full: $(DEV)
	$(RUN) pytest -n 2

# Damaged files, kills and slow clients, about an hour; each prints its counts, and all of them run whatever one finds.
soak: $(DEV)
	@failed=; for part in "fuzzing --inputs 10000" "training_kills --times 30" "kills --times 30" service; do \
	    echo "== $$part"; $(RUN) tests.soak.$$part || failed="$$failed $${part%% *}"; \
	done; test -z "$$failed" || { echo "Faults were found by:$$failed"; exit 1; }

lint: $(DEV)
	$(BIN)/ruff format --check $(LINTED)
	$(BIN)/ruff check $(LINTED)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(DEV)
	$(BIN)/ruff check --fix $(LINTED)
	$(BIN)/ruff format $(LINTED)

# A warning (a broken link or anchor, a name without an entry, a cell that fails) is an error.
docs: $(DEV)
	$(RUN) sphinx --fresh-env --fail-on-warning --keep-going --quiet docs site
	rm -rf jupyter_execute  # The notebook as it ran, which no user reads.

wheel: $(DEV)
	$(BIN)/python -m build --wheel

clean:
	rm -rf build dist site .mypy_cache .ruff_cache .pytest_cache work_dirs
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +
