#!/bin/sh
# Builds the page of Pipecat's own browser clients, for tests/clients and benchmarks/edge: the npm packages of
# tests/clients/package-lock.json and page.js in one file. Prints the path of that file, or nothing if the packages
# cannot be fetched; the tests that need it are then left out. It never fails the run.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh

needs_venv
PATH="$PWD/.venv/bin:$PATH"
folder=tests/clients
page=.make/clients/page.js
stamp=$folder/node_modules/.stamp
lock=$(sha256sum $folder/package-lock.json | cut -d ' ' -f 1)

install_packages() {
    say "installing Pipecat's browser clients for the tests (140 MB; ten seconds or more)"
    # --ignore-scripts: esbuild works without its installation script, so none gets to run.
    npm ci --prefix $folder --ignore-scripts --no-audit --no-fund >.make/clients.log 2>&1
}

mkdir -p .make/clients
if [ "$(cat $stamp 2>/dev/null)" != "$lock" ]; then
    install_packages || {
        say "Pipecat's browser clients could not be installed: their tests will be left out. The npm registry must be reachable.   (details: .make/clients.log)"
        exit 0
    }
    echo "$lock" >$stamp
fi
if [ ! -e $page ] || [ $folder/page.js -nt $page ] || [ $stamp -nt $page ]; then
    $folder/node_modules/.bin/esbuild $folder/page.js --bundle --format=iife --log-level=warning --outfile=$page >&2 || {
        say "the page of Pipecat's browser clients could not be built: their tests will be left out."
        rm -f $page
        exit 0
    }
fi
echo "$PWD/$page"
