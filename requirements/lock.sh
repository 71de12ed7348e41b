#!/bin/sh
# Pins every dependency with hashes: up.txt for `make up`, dev.txt for everything else beside it,
# docs.txt for the documentation site, chart.txt for the tests of deploy/, the rest for its images.
# Needs uv (https://docs.astral.sh/uv): on the PATH, in .venv, or named by UV.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh

find_uv() {
    for candidate in ${UV:+"$UV"} uv .venv/bin/uv; do
        command -v "$candidate" && return 0
    done
    return 1
}

lock() {
    out=$1
    shift
    compile pyproject.toml --extra local requirements/build.in "$@" -o "$out"
}

compile() {
    "$uv" pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
        --no-emit-find-links --custom-compile-command "make lock" --quiet "$@"
}

uv=$(find_uv) || fail "uv is needed to lock the dependencies." ".venv/bin/pip install uv"
lock requirements/up.txt
lock requirements/dev.txt --extra kubernetes --extra cloudwatch --extra oidc --extra otel requirements/dev.in -c requirements/up.txt
compile requirements/docs.in -o requirements/docs.txt
compile requirements/chart.in --no-deps -o requirements/chart.txt
# The images of deploy/Dockerfile: what builds the package, and the two sets of its extras.
compile requirements/build.in -c requirements/dev.txt -o requirements/build.txt
compile pyproject.toml --extra serve --extra kubernetes --extra oidc -c requirements/dev.txt -o requirements/plane.txt
compile pyproject.toml --extra bots -c requirements/dev.txt -o requirements/bots.txt
