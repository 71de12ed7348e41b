#!/bin/sh
# Runs the tests: test.sh [PYTEST ARGUMENTS]
# Skipped tests are named one by one at the end, each with its reason.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh

scripts/setup.sh dev
CHROMIUM=$(scripts/chromium.sh)
if [ -n "$CHROMIUM" ]; then export CHROMIUM; else unset CHROMIUM; fi
unset PYTHONDONTWRITEBYTECODE
exec .venv/bin/python -m pytest --no-fold-skipped "$@"
