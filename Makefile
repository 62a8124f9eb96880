# What a person types: make demo, make test. Everything runs inside .venv.

PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= 2
BENCH := .venv-bench
PARTS ?=
RUNS ?=
ROWS ?=
SIDES ?=

export HF_HUB_DISABLE_TELEMETRY := 1

.PHONY: help setup demo check test results evidence bench clean

help:  ## show what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## make .venv and install, with the versions in constraints.txt

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; none was found. Name one: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || test -x $(BIN)/pip || \
		{ echo "$(PYTHON) cannot make virtual environments (venv or ensurepip is missing)."; \
		  echo "On Debian and Ubuntu: apt install python3-venv. Or name another Python: make PYTHON=/path/to/python3"; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: setup  ## fine-tune a real text model on real data, without any model hub
	@$(BIN)/unfreeze demo text

check: setup  ## lint, format, types, direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: setup  ## the whole test suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

results: setup  ## docs/results.md: every method on real data (hours; needs UNFREEZE_REAL_DATA)
	$(BIN)/python benchmarks/results.py run
	$(BIN)/python benchmarks/results.py write

evidence: setup  ## docs/evidence.md: what evidence shows on real data (half an hour; needs UNFREEZE_REAL_DATA)
	$(BIN)/python benchmarks/evidence.py run
	$(BIN)/python benchmarks/evidence.py write

# Peers are installed one by one: one that cannot be had beside these versions is left out, and the page says so.
$(BENCH)/.installed: pyproject.toml constraints.txt benchmarks/bench/peers.txt
	test -x $(BENCH)/bin/pip || $(PYTHON) -m venv $(BENCH)
	echo '*' > $(BENCH)/.gitignore
	$(BENCH)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[offline]'
	grep -v '^#' benchmarks/bench/peers.txt | while read -r peer; do \
		$(BENCH)/bin/python -m pip install --quiet --constraint constraints.txt "$$peer" || echo "left out: $$peer"; done
	touch $@

bench: $(BENCH)/.installed  ## docs/benchmarks.md: peers side by side; PARTS="1 3" RUNS=3 ROWS=… SIDES=… QUICK=1 FULL=1 MISSING=1
	PYTHONPATH=benchmarks $(BENCH)/bin/python -m bench run $(PARTS) $(RUNS:%=--runs %) $(ROWS:%=--rows %) \
		$(SIDES:%=--side %) $(if $(QUICK),--quick) $(if $(FULL),--full) $(if $(MISSING),--missing)

clean:  ## remove what was made, except runs/
	rm -rf $(VENV) $(BENCH) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
