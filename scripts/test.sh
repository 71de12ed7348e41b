#!/bin/sh
# Runs the tests: test.sh [PYTEST ARGUMENTS]
# Two workers share them (tests/parallel_support.py says how), as most of a test's time is waiting;
# `-n 0` runs them one after another. Skipped tests are named one by one at the end, with reasons.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh

needs_venv
CHROMIUM=$(scripts/chromium.sh)
if [ -n "$CHROMIUM" ]; then export CHROMIUM; else unset CHROMIUM; fi
unset PYTHONDONTWRITEBYTECODE
if .venv/bin/python -c 'import xdist' 2>/dev/null; then set -- -n 2 "$@"; fi
exec .venv/bin/python -m pytest --no-fold-skipped "$@"
