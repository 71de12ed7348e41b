#!/bin/sh
# Removes everything that make, tests and tools have created in this clone, and nothing outside it.
set -eu
cd "$(dirname "$0")/.."
rm -rf benchmarks/out .venv .make .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist site node_modules tests/clients/node_modules examples/nextjs/node_modules examples/nextjs/.next clients/js/types
rm -f .coverage .coverage.*
rm -f src/cordboard/logs/*.so
find src tests benchmarks examples scripts -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
