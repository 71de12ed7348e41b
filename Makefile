# Every verb of the project. `.ci/run` uses the same ones; the steps are in scripts/.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
# setup.sh is a recipe of its own, so that its parent is make: it ends when make does.
.PHONY: help install dev up test lint bench docs lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

install: ## set up .venv with the locked dependencies; no more than needed
	@scripts/setup.sh up

dev:
	@scripts/setup.sh dev

up: install ## run everything on this machine; ARGS="--bot my_bot.py" are handed on
	@exec env -u PYTHONDONTWRITEBYTECODE .venv/bin/cordboard up $(ARGS)

test: dev ## run all tests; ARGS="tests/store -x" chooses
	@scripts/test.sh $(ARGS)

lint: dev ## ruff, mypy, import-linter, and pip-audit where its data can be reached
	@scripts/lint.sh

bench: dev ## run the benchmarks; ARGS=startup chooses
	@scripts/bench.sh $(ARGS)

docs: dev ## write the generated pages of docs/ and build the site; ARGS=--coverage runs all tests for coverage.md
	@scripts/docs.sh $(ARGS)

lock: ## pin the newest allowed dependencies, with hashes
	@requirements/lock.sh

clean: ## remove what make, tests and tools have made here
	@scripts/clean.sh
