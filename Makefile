# Every verb of the project. `.ci/run` and .github/workflows/ci.yml call the same ones; scripts/ has their steps.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.PHONY: help install dev up test coverage lint bench sizes docs lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

# setup.sh is a recipe line of its own, so that make is its parent: it ends when make ends.
install: ## create .venv with the locked packages that `make up` needs
	@scripts/setup.sh up

dev:
	@scripts/setup.sh dev

up: install ## run everything on this machine; ARGS="--bot my_bot.py" passes options to cordboard up
	@exec env -u PYTHONDONTWRITEBYTECODE .venv/bin/cordboard up $(ARGS)

test: dev ## run all tests; ARGS="-m fast" runs the quick ones, ARGS="tests/store -x" those of a folder
	@scripts/test.sh $(ARGS)

coverage: dev ## run all tests and print the share of the code that they run; ARGS as for test
	@scripts/test.sh --coverage $(ARGS)

lint: dev ## check code, generated pages, and the packages for known vulnerabilities
	@scripts/lint.sh

bench: dev ## run the benchmarks; ARGS=startup runs one of them
	@scripts/bench.sh $(ARGS)

sizes: dev ## measure how much disk space each extra takes
	@scripts/sizes.sh

docs: dev ## write the generated pages and pictures of docs/, and build the site; ARGS=--coverage also writes docs/coverage.md
	@scripts/docs.sh $(ARGS)

lock: ## pin the newest allowed dependencies, with hashes
	@requirements/lock.sh

clean: ## remove everything that make, tests and tools have created here
	@scripts/clean.sh
