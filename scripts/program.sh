#!/bin/sh
# Finds a program for some of the tests: program.sh PACKAGE PROGRAM TESTS
#
# TESTS says which tests need it. As root in a Debian container it installs a missing package; elsewhere it names the
# command. Prints the path of the program, or nothing if there is none. It never fails the run.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh

package=$1 program=$2 tests=$3
find_program() { command -v "$program" || command -v "/usr/sbin/$program"; }

find_program && exit 0
advice="$tests will be left out. To have them:"
if ! is_debian; then
    say "no $program here: $advice install $package from your system's packages."
elif ! is_root || [ -d /run/systemd/system ]; then
    # With systemd the package starts a server that other machines may reach. Its user decides about that.
    say "no $program here: $advice $(as_root)apt-get install $package"
elif say "installing $package for $tests" && install_debian "$package"; then
    find_program || true
else
    say "$package could not be installed: $advice apt-get install $package   (details: .make/$package.log)"
fi
