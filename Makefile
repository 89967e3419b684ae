# make run: set up and open the app (MODEL=NAME opens that model). make test: set up and run every check.
# Both work from nothing.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
STARTER := $(VENV)/.starter
PROGRAM := $(abspath $(BIN))/llama-tui
MODEL ?=
ARGS ?=

.PHONY: run test lint types contract tests faults benchmarks benchmarks-learning shots demo-model format clean

run: $(READY) $(if $(MODEL),,$(STARTER))
	@echo 'The command is $(PROGRAM)'
	@test "$$(command -v llama-tui)" = '$(PROGRAM)' || \
	  printf '%s\n' 'To type it as llama-tui, in this shell or in ~/.bashrc:' '  export PATH="$(abspath $(BIN)):$$PATH"'
	@'$(PROGRAM)' $(if $(MODEL),--model '$(MODEL)') $(ARGS)

test: lint types contract tests

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

contract: $(READY)
	$(BIN)/lint-imports --no-cache

tests: $(READY)
	$(BIN)/python -m pytest -q

# The whole counts of the promises; `make tests` runs them reduced.
faults: $(READY)
	LLAMA_TUI_KILLS=1000 LLAMA_TUI_FLIPS=500 LLAMA_TUI_FULL=1 $(BIN)/python -m pytest -q --timeout 7200 tests/faults tests/corpora tests/sessions

benchmarks: $(READY)
	$(BIN)/python -m tests.benchmarks.bench_corpora --json tests/benchmarks/figures/corpora.json
	$(BIN)/python -m tests.benchmarks.bench_engine
	$(BIN)/python -m tests.benchmarks.bench_terminal

# What learning keeps and breaks, on the starter model and the demo model: the table in the README. Takes hours.
benchmarks-learning: $(READY)
	$(BIN)/python -m tests.benchmarks.bench_learning --all --json tests/benchmarks/figures/learning.json

# The pictures in the README.
shots: $(READY)
	$(BIN)/python -m tests.tui.shots docs/screens chat training compare corpus adapters --size 120x40

demo-model: $(READY)
	$(BIN)/python -m sessions.demo.make

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Once; where it cannot be downloaded, that is one line, and the demo model opens.
$(STARTER): | $(READY)
	@'$(PROGRAM)' models get smollm2 --optional
	@touch $(STARTER)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "llama-tui needs Python 3.11 or newer; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { echo "This Python cannot make a virtual environment; on Debian: apt install python3-venv"; exit 2; }
	@echo "Setting up $(VENV) (once; a few minutes)…"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(READY)
