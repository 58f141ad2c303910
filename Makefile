# Every command of this repository; `make` alone lists them.
#
# All of them work from a fresh clone: whatever needs the virtual environment depends on the
# stamp file, and the stamp file on what the environment is made of.

# The first of these that is Python 3.11 or newer and can make a virtual environment is used;
# `make install PYTHON=/path/to/python` names one.
PYTHON ?= python3 python3.11 python3.12 python3.13 python3.14 /usr/bin/python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
PIP    := $(BIN)/python -m pip -qq --disable-pip-version-check --no-input

# Passed on to pytest, to the server, to the bench or to the resolver: make test ARGS="-k sse"
ARGS       ?=
RECORDINGS ?= ../shared/recordings
ROUNDS     ?= 20
# Tests run in so many processes, each file in one of them: twice as many as two cores, as many wait
# for other processes. PROCESSES=0 lets a debugger in.
PROCESSES  ?= 4
SEEDS      ?= 1000
# In the order of tests/conftest.py: a long file that comes last would be waited for.
PYTEST     := $(BIN)/python -m pytest --numprocesses=$(PROCESSES) --dist=loadfile \
	--no-loadscope-reorder
LOCK       := $(BIN)/uv pip compile --quiet pyproject.toml --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --system-certs --custom-compile-command 'make lock'
# Tests start hundreds of processes, and each would compile anew what it imports.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help install demo serve cluster test check bench bench-check recordings kill storm chaos chaos-cluster simulate audit sbom wheel lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## Create .venv with the holdfast command in it

demo: install ## Start a server that answers by itself, and print the link of its page
	@$(BIN)/holdfast demo $(ARGS)

serve: install ## Start the server as holdfast.toml and HOLDFAST_* configure it
	@$(BIN)/holdfast serve $(ARGS)

cluster: install ## Start nginx, two nodes, Valkey and PostgreSQL, and print what to try and whom to kill
	@$(BIN)/python -m examples.cluster $(ARGS)

test: install ## Run every test (the recordings of ../shared too, where they are)
	@$(PYTEST) $(ARGS)

check: install ## Run all that a change must pass: format, lint, types, imports, tests with coverage
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.supply.audit
	$(BIN)/python -m pytest tests/test_architecture.py
	HOLDFAST_SHARED=none $(PYTEST) --cov=holdfast --ignore=tests/faults
	HOLDFAST_SHARED=none $(PYTEST) tests/faults

bench: install ## Measure latency, events a tick and CPU a token, beside nginx
	@$(BIN)/python -m bench $(ARGS)

bench-check: install ## Measure again what is recorded, and name the ratios that grew: never part of check
	@$(BIN)/python -m bench check $(ARGS)

recordings: install ## Replay recorded answers: make recordings RECORDINGS=DIR
	@$(BIN)/python -m tests.recordings "$(RECORDINGS)"

kill: install ## Kill a server that writes 100 streams, again and again: make kill ROUNDS=20
	HOLDFAST_ROUNDS=$(ROUNDS) $(BIN)/python -m pytest tests/faults/test_server_kill.py $(ARGS)

storm: install ## Cut, stall, reset, drain and flood a node: make storm ARGS="recovery slow"
	@$(BIN)/python -m tests.faults.storms $(ARGS)

chaos: install ## Break a running server for 3 minutes, and judge what all saw: make chaos ARGS="--seed 7"
	@$(BIN)/python -m tests.faults.chaos $(ARGS)

chaos-cluster: install ## Break three nodes, Valkey and PostgreSQL for 5 minutes: make chaos-cluster ARGS="--seed 7"
	@$(BIN)/python -m tests.faults.cluster $(ARGS)

simulate: install ## Run a whole node in simulated time, a seed after the other: make simulate SEEDS=10000
	@$(BIN)/python -m tests.simulate --seeds $(SEEDS) $(ARGS)

audit: install ## Look for known vulnerabilities in what is pinned; told, and passed, where that cannot be
	@$(BIN)/python -m tests.supply.audit $(ARGS)

sbom: install ## Write dist/sbom.json: what a node is made of, as CycloneDX
	@$(BIN)/python -m tests.supply.sbom $(ARGS)

wheel: install ## Write dist/holdfast-*.whl, to be installed beside deploy/requirements.lock
	@$(BIN)/hatchling build --target wheel

# The second one has what a node runs, each as it is in the first.
lock: $(BIN)/python ## Pin what pyproject.toml asks for (newest: make lock ARGS=--upgrade)
	@$(PIP) install --only-binary :all: uv
	@$(LOCK) --group dev --output-file requirements.lock $(ARGS)
	@$(LOCK) --extra redis --extra postgres --extra otel --extra zstd --constraint requirements.lock \
		--output-file deploy/requirements.lock --upgrade

clean: ## Remove all that these commands made, .venv too; logs of answers stay
	rm -rf $(VENV) build dist bench/out .coverage* .hypothesis tests/peers/node_modules clients/js/node_modules \
		.pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find src tests bench -name __pycache__ -prune -exec rm -rf {} +

# No code of theirs runs here: a wheel is only unpacked, a source distribution would build itself.
$(STAMP): pyproject.toml requirements.lock | $(BIN)/python
	@echo "$(VENV): installing what requirements.lock pins ..." >&2
	@$(PIP) install --require-hashes --no-deps --only-binary :all: -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@
	@echo "$(VENV): ready" >&2

# A half-made environment would pass for a whole one at the next call, so it is removed.
$(BIN)/python:
	@found=; \
	for python in $(PYTHON); do \
		"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		found=$$python; \
		"$$python" -c 'import ensurepip, venv' 2>/dev/null || continue; \
		echo "$(VENV): made by $$python ..." >&2; \
		"$$python" -m venv --clear $(VENV) >&2 && exit 0; \
		rm -rf $(VENV); \
	done; \
	if [ -n "$$found" ]; then \
		echo "$$found has no working venv module; as root:  apt-get install -y python3-venv" >&2; \
	else \
		echo "Python 3.11 or newer is missing; as root:  apt-get install -y python3-venv" >&2; \
	fi; \
	exit 1
