#!/bin/sh
# Runs all benchmarks but survival, which takes hours, or the named ones: bench.sh [NAME ...]
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh

needs_venv
unset PYTHONDONTWRITEBYTECODE

# Files that begin with an underscore, and parts of another benchmark, are not benchmarks.
benchmarks() {
    for file in benchmarks/[a-z]*.py benchmarks/*/bench_*.py; do
        case "$file" in benchmarks/plane_peer*) ;; *) echo "$file" ;; esac
    done
}

name_of() { basename "$1" .py | sed 's/^bench_//'; }

find_browser() {
    CHROMIUM=$(scripts/chromium.sh)
    if [ -n "$CHROMIUM" ]; then export CHROMIUM; else unset CHROMIUM; fi
}

known=""
for file in $(benchmarks); do known="$known $(name_of "$file")"; done
for name in "$@"; do
    case "$known " in *" $name "*) ;; *) fail "There is no benchmark $name." "There are:$known" ;; esac
done

failed=""
for file in $(benchmarks); do
    name=$(name_of "$file")
    if [ $# -gt 0 ]; then
        case " $* " in *" $name "*) ;; *) continue ;; esac
    elif [ "$name" = survival ]; then
        continue
    fi
    printf '\n== %s\n' "$file"
    case "$name" in page | pages | client | survival | heard) find_browser ;; esac
    if [ "$name" = client ]; then scripts/clients.sh >/dev/null; fi
    .venv/bin/python "$file" || failed="$failed $name"
done
[ -z "$failed" ] || fail "These benchmarks failed:$failed."
