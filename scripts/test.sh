#!/bin/sh
# Runs the tests: test.sh [--coverage] [PYTEST ARGUMENTS]
#
# Three workers share the tests, because a test mostly waits (tests/parallel_support.py decides which tests stay
# together); `-n 0` runs them one after another. The summary names each skipped test and its reason.
# --coverage also measures which lines run, in all processes, and prints the share at the end.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh

needs_venv
coverage=""
if [ "${1:-}" = --coverage ]; then
    coverage=yes
    shift
fi
CHROMIUM=$(scripts/chromium.sh)
if [ -n "$CHROMIUM" ]; then export CHROMIUM; else unset CHROMIUM; fi
scripts/clients.sh >/dev/null
# program VARIABLE PACKAGE PROGRAM TESTS: export the path of a program, unless the variable names one already.
program() {
    eval "path=\${$1:-}"
    [ -n "$path" ] || path=$(scripts/program.sh "$2" "$3" "$4")
    if [ -n "$path" ]; then export "$1=$path"; else unset "$1"; fi
}
program TURNSERVER coturn turnserver "the tests with a TURN server"
program PROMTOOL prometheus promtool "the tests of the alarms"
program CADDY caddy caddy "the tests of https behind Caddy"
CHART_TOOLS=$(scripts/chart_tools.sh)
if [ -n "$CHART_TOOLS" ]; then export CHART_TOOLS; else unset CHART_TOOLS; fi
unset PYTHONDONTWRITEBYTECODE
if .venv/bin/python -c 'import xdist' 2>/dev/null; then set -- -n 3 "$@"; fi
set -- pytest --no-fold-skipped "$@"
[ -n "$coverage" ] || exec .venv/bin/python -m "$@"

rm -rf .make/coverage
mkdir -p .make/coverage
# Absolute, because processes under test run in other directories.
export COVERAGE_FILE="$PWD/.make/coverage/data"
status=0
.venv/bin/python -m coverage run -m "$@" || status=$?
# Tests kill some processes, whose data may be incomplete; combine leaves it out and says so in its log.
.venv/bin/python -m coverage combine >.make/coverage/combine.log 2>&1 || true
rm -f .make/coverage/data.*
.venv/bin/python -m coverage report >.make/coverage/report.txt || fail "There is no coverage data." "Details: .make/coverage/combine.log"
say "coverage: $(.venv/bin/python -m coverage report --format=total) % of lines and branches; by file: .make/coverage/report.txt"
exit "$status"
