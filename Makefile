# Every target runs from a fresh clone: what is missing is installed first.
SHELL := /bin/bash
PY := .venv/bin/python
LANE ?= all

.PHONY: demo down check test bench install
install:
	@scripts/install

check: install
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/lint-imports --no-cache
	.venv/bin/mypy

test: install
	@scripts/test $(LANE)

bench:
	@scripts/install tests
	@$(PY) -m bench $(if $(BENCH),--only $(BENCH))

demo: install
	@scripts/demo

down:
	@scripts/down
