#!/bin/sh
# Lints and type-checks the browser's code: eslint and tsc, in the versions of package-lock.json.
# Node.js comes with the locked packages of .venv; npm fetches the two tools into node_modules/.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh

needs_venv
PATH="$PWD/.venv/bin:$PATH"
stamp=node_modules/.stamp
lock=$(sha256sum package-lock.json | cut -d ' ' -f 1)
if [ "$(cat $stamp 2>/dev/null)" != "$lock" ]; then
    mkdir -p .make
    # --ignore-scripts: neither tool needs an installation script, so none gets to run.
    npm ci --ignore-scripts --no-audit --no-fund >.make/npm.log 2>&1 ||
        fail "eslint and tsc cannot be installed." "Check the connection to the npm registry, then run it again. Details: .make/npm.log"
    echo "$lock" >$stamp
fi
npm run --silent lint
