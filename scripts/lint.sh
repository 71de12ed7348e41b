#!/bin/sh
# All static checks, known advisories of what is locked, and whether the generated pages are current; runs each, so that one look shows all.
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
check "advisories" scripts/audit.sh
check "docs" python scripts/docs.py --check
[ -z "$failed" ] || fail "Not clean:$failed." "Most of it is repaired by .venv/bin/ruff check --fix && .venv/bin/ruff format"
