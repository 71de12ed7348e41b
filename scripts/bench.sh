#!/bin/sh
# Runs every benchmark, or those named: bench.sh [NAME ...]
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh

needs_venv
unset PYTHONDONTWRITEBYTECODE
failed=""
for file in benchmarks/[a-z]*.py benchmarks/*/bench_*.py; do
    [ -e "$file" ] || continue
    name=$(basename "$file" .py)
    name=${name#bench_}
    if [ $# -gt 0 ]; then
        case " $* " in *" $name "*) ;; *) continue ;; esac
    fi
    printf '\n== %s\n' "$file"
    .venv/bin/python "$file" || failed="$failed $name"
done
[ -z "$failed" ] || fail "These benchmarks failed:$failed."
