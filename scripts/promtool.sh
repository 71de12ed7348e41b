#!/bin/sh
# Finds promtool for the tests of the alarms. As root in a Debian container it installs a missing one; elsewhere it
# names the command. Prints the path of the program, or nothing if there is none. It never fails the run.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh

command -v promtool && exit 0
advice="the tests of the alarms will be left out. To have them:"
if ! is_debian; then
    say "no promtool here: $advice install Prometheus from your system's packages."
elif ! is_root || [ -d /run/systemd/system ]; then
    # With systemd the package starts a server. Its user decides about that.
    say "no promtool here: $advice $(as_root)apt-get install prometheus"
elif say "installing Prometheus for the tests of the alarms" && install_debian prometheus; then
    command -v promtool || true
else
    say "Prometheus could not be installed: $advice apt-get install prometheus   (details: .make/prometheus.log)"
fi
