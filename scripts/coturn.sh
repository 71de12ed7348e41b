#!/bin/sh
# Finds coturn for the tests with a TURN server. As root in a Debian container it installs a missing one; elsewhere it
# names the command. Prints the path of the server, or nothing if there is none. It never fails the run.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh

find_coturn() {
    for name in ${TURNSERVER:+"$TURNSERVER"} turnserver /usr/sbin/turnserver; do
        command -v "$name" && return 0
    done
    return 1
}

find_coturn && exit 0
advice="the tests with a TURN server will be left out. To have them:"
if ! is_debian; then
    say "no coturn here: $advice install it from your system's packages."
elif ! is_root || [ -d /run/systemd/system ]; then
    # With systemd the package starts a server that other machines can reach. Its user decides about that.
    say "no coturn here: $advice $(as_root)apt-get install coturn"
elif say "installing coturn for the tests with a TURN server" && install_debian coturn; then
    find_coturn || true
else
    say "coturn could not be installed: $advice apt-get install coturn   (details: .make/coturn.log)"
fi
