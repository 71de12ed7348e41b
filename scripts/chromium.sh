#!/bin/sh
# Finds Chromium for the browser tests. As root on Debian it installs a missing one; elsewhere it names the command.
# Prints the path of the browser, or nothing if there is none. It never fails the run.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh

find_chromium() {
    for name in ${CHROMIUM:+"$CHROMIUM"} chromium chromium-browser google-chrome; do
        command -v "$name" && return 0
    done
    return 1
}

install_chromium() {
    say "installing Chromium for the browser tests (about 100 MB; a minute or two)"
    install_debian chromium
}

find_chromium && exit 0
if ! is_debian; then
    say "no Chromium here: the browser tests will be left out. Install it from your system's packages."
elif ! is_root; then
    say "no Chromium here: the browser tests will be left out. To have them: sudo apt-get install chromium"
elif install_chromium; then
    find_chromium || true
else
    say "Chromium could not be installed: the browser tests will be left out. To have them: apt-get install chromium   (details: .make/chromium.log)"
fi
