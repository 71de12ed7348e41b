#!/bin/sh
# Removes what make, tests and tools have made in this clone; nothing outside it.
set -eu
cd "$(dirname "$0")/.."
rm -rf benchmarks/out .venv .make .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist site
rm -f src/cordboard/logs/*.so
find src tests benchmarks examples scripts -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
