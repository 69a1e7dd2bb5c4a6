# Every target makes .venv and installs what is needed first; nothing but Python 3.11 or newer is expected.

PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
# the name carries a checksum of both files: .venv is current when the file of that name is there
STAMP := .venv/installed-$(shell cat pyproject.toml constraints.txt | cksum | tr ' ' '-')
RECIPE ?= mini
PYTEST_ARGS ?=

export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false

.DEFAULT_GOAL := help
.PHONY: help demo test scenario lint bench mini server deploy workers down install clean

help: ## show this list
	@grep -E '^[a-z]+:.*## ' Makefile | sed -E 's/^([a-z]+):.*## /  make \1	/' | expand -t 16

install: $(STAMP) ## make .venv and install everything into it

$(STAMP):
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it, or say make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@rm -f .venv/installed-*
	@touch $@

demo: $(STAMP) ## run the whole pipeline on the miniature world; leaves demo/report.html
	$(BIN)/instaflow run $(RECIPE) --store demo/store --out demo

test: $(STAMP) ## run every test
	$(BIN)/python -m pytest -n 3 --dist loadscope --no-loadscope-reorder $(PYTEST_ARGS)

scenario: $(STAMP) ## kill, freeze, cancel and take away workers and servers; print the time each costs
	$(BIN)/python -m pytest -s -m scenario tests/workers/test_scenario.py $(PYTEST_ARGS)

lint: $(STAMP) ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP) ## print the benchmark numbers and the machine
	$(BIN)/python -m tests.benchmarks

mini: $(STAMP) ## train the miniature teacher and CLIP again, from scratch, into models/mini/weights
	$(BIN)/instaflow mini --store demo/store

server: $(STAMP) ## open the Prefect server on the records of earlier runs
	$(BIN)/instaflow server

deploy: $(STAMP) ## register the pipelines and every stage on the work pools
	$(BIN)/instaflow deploy

workers: $(STAMP) ## deploy and start this machine's workers, and a server unless one stands
	$(BIN)/instaflow up

down: $(STAMP) ## stop what `make workers` started; runs under way are requeued
	$(BIN)/instaflow down

clean: ## remove .venv and the demo
	rm -rf .venv demo build *.egg-info
