#!/bin/sh
# Pins every dependency with hashes: up.txt for `make up`, dev.txt for everything else beside it.
set -eu
cd "$(dirname "$0")/.."
uv="${UV:-uv}"
common="--universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command make\ lock --quiet"
eval "$uv pip compile $common pyproject.toml --extra local requirements/build.in -o requirements/up.txt"
eval "$uv pip compile $common pyproject.toml --extra local requirements/build.in requirements/dev.in -c requirements/up.txt -o requirements/dev.txt"
