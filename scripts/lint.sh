#!/bin/sh
# Runs all static checks: Python, JavaScript, advisories of locked packages, and whether generated pages are current.
# A check that fails does not stop the others.
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
check "ruff" ruff check
check "format" ruff format --check
check "mypy" mypy
check "imports" lint-imports
check "javascript" scripts/javascript.sh
check "advisories" scripts/audit.sh
check "docs" python scripts/docs.py --check
check "figures" python scripts/figures.py --check
[ -z "$failed" ] || fail "These checks failed:$failed." "Fix most of ruff's and format's complaints with: .venv/bin/ruff check --fix && .venv/bin/ruff format"
