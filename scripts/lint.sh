#!/bin/sh
# Runs all static checks: Python, JavaScript, advisories of locked packages, and whether generated pages are current.
# A check that fails does not stop the others. mypy takes as long as all others together, so it runs beside them.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh

needs_venv
failed=""
check() {
    name=$1
    shift
    if "$@"; then return 0; fi
    failed="$failed $name"
}
PATH="$PWD/.venv/bin:$PATH"

mkdir -p .make
if [ -t 1 ]; then export MYPY_FORCE_COLOR=1; fi
mypy >.make/mypy.log 2>&1 &
types=$!
# A shell lets its background processes ignore Ctrl-C.
trap 'kill "$types" 2>/dev/null || true' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
types_are_right() {
    status=0
    wait "$types" || status=$?
    cat .make/mypy.log
    return "$status"
}

check "ruff" ruff check
check "format" ruff format --check
check "imports" lint-imports
check "javascript" scripts/javascript.sh
check "advisories" scripts/audit.sh
check "docs" python scripts/docs.py --check
check "figures" python scripts/figures.py --check
check "mypy" types_are_right
[ -z "$failed" ] || fail "These checks failed:$failed." "Fix most of ruff's and format's complaints with: .venv/bin/ruff check --fix && .venv/bin/ruff format"
