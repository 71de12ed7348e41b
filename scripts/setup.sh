#!/bin/sh
# Sets up .venv: setup.sh up|dev
#
# A stamp inside .venv holds the fingerprint of what was installed, written when all is done, so that
# a second run costs nothing. While pip writes, .venv/.unfinished exists: an interrupted install is
# thrown away by the next run instead of being taken for done.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh

kind="${1:?up or dev}"
log=.make/install.log
unset PYTHONDONTWRITEBYTECODE

main() {
    mkdir -p .make 2>/dev/null || fail "Cannot write in $PWD." "Clone into a directory of your own."
    one_at_a_time
    if ! is_done; then
        choose_python
        make_venv
        install_locked
        install_package
        write_stamps
        say "set up."
    fi
    compile_package
}

# --- one run at a time

one_at_a_time() {
    command -v flock >/dev/null 2>&1 || return 0
    exec 9>.make/lock
    flock -n 9 && return 0
    say "another make sets things up here; waiting for it"
    flock 9
}

# --- is there anything to do?

fingerprint() {
    { pwd -P; command -v cc || true; cat "requirements/$1.txt" pyproject.toml hatch_build.py src/cordboard/*/*.c; } | sha256sum | cut -d ' ' -f 1
}

is_done() {
    [ ! -e .venv/.unfinished ] || return 1
    [ "$(cat ".venv/.stamp-$kind" 2>/dev/null)" = "$(fingerprint "$kind")" ] || return 1
    .venv/bin/python -I -S -c '' 2>/dev/null
}

write_stamps() {
    rm .venv/.unfinished
    fingerprint up >.venv/.stamp-up
    # dev.txt holds all of up.txt in the same versions.
    if [ "$kind" = dev ]; then fingerprint dev >.venv/.stamp-dev; fi
}

# --- a Python that fits

choose_python() {
    old=""
    bare=""
    for candidate in ${PYTHON:+"$PYTHON"} python3.14 python3.13 python3.12 python3.11 python3; do
        version=$("$candidate" -I -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null) ||
            continue
        if ! "$candidate" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
            old="$old $version"
        elif ! "$candidate" -I -c 'import ensurepip, venv' 2>/dev/null; then
            bare="${bare:-$version}"
        else
            python=$candidate
            return 0
        fi
    done
    if [ -n "$bare" ]; then
        fail "Python $bare is here, but without its venv module." "$(venv_hint "${bare%.*}")"
    fi
    fail "Python 3.11 or newer is needed;${old:+ found only}${old:- none was found}." "$(python_hint)"
}

venv_hint() {
    if is_debian; then
        echo "$(as_root)apt-get install python3-venv   (or python$1-venv), then the same again."
    else
        echo "Install it from your system's packages, or name another Python: PYTHON=/path/python3 make ..."
    fi
}

python_hint() {
    if is_debian; then
        echo "$(as_root)apt-get install python3 python3-venv   (Debian 12 or later), or PYTHON=/path/python3 make ..."
    else
        echo "Install one from https://www.python.org/downloads/, or name it: PYTHON=/path/python3 make ..."
    fi
}

# --- the virtual environment

make_venv() {
    if usable_venv; then return 0; fi
    say "making the virtual environment .venv with Python $version"
    rm -rf .venv
    mkdir .venv
    : >.venv/.unfinished
    "$python" -m venv .venv >"$log" 2>&1 || explain "Cannot make the virtual environment .venv."
}

# Complete, of this place (its scripts hold absolute paths), and of a Python that still runs.
usable_venv() {
    [ ! -e .venv/.unfinished ] &&
        grep -qsF "$(pwd -P)/.venv" .venv/bin/pip &&
        .venv/bin/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

install_locked() {
    count=$(grep -c '^[a-z0-9].*==' "requirements/$kind.txt")
    say "installing $count locked packages: about 400 MB to fetch once; one to five minutes"
    : >.venv/.unfinished
    pip_install "installing" --require-hashes -r "requirements/$kind.txt"
}

install_package() {
    # What venv brought with it; its .pth file would be run at each start.
    .venv/bin/python -m pip --disable-pip-version-check uninstall -q -y setuptools >"$log" 2>&1 || true
    pip_install "installing cordboard itself" --no-deps --no-build-isolation -e .
}

# Runs pip with its noise in the log; on a terminal, one line tells how far it is.
pip_install() {
    doing=$1
    shift
    began=$(date +%s)
    .venv/bin/python -m pip --disable-pip-version-check --no-input install --progress-bar off "$@" \
        >"$log" 2>&1 9>&- &
    pid=$!
    trap 'stop_pip 130' INT
    trap 'stop_pip 143' TERM HUP
    while kill -0 "$pid" 2>/dev/null; do
        [ -t 2 ] && tell_progress
        sleep 0.5
    done
    [ -t 2 ] && printf '\r\033[K' >&2
    wait "$pid" && status=0 || status=$?
    trap - INT TERM HUP
    [ "$status" = 0 ] || explain "Installing the dependencies failed."
}

tell_progress() {
    if grep -q '^Installing collected' "$log"; then
        step="writing them into .venv"
    else
        step="$(grep -c '^Collecting' "$log") of $count fetched"
    fi
    printf '\r\033[K  %s: %s, %s s' "$doing" "$step" "$(($(date +%s) - began))" >&2
}

stop_pip() {
    trap - INT TERM HUP
    kill "$pid" 2>/dev/null
    wait "$pid" 2>/dev/null || true
    printf '\n' >&2
    say "interrupted; the next make starts the set-up afresh"
    exit "$1"
}

# Says in one sentence why the last step failed, from its log.
explain() {
    # Nothing had been written yet: what is installed is still whole.
    grep -q '^Installing collected\|^  Attempting uninstall' "$log" || rm -f .venv/.unfinished
    [ -e .venv/bin/pip ] || : >.venv/.unfinished
    if grep -qi 'No space left on device\|Errno 28' "$log"; then
        : >.venv/.unfinished
        fail "No space left on the disk: the set-up needs about 1.5 GB in $PWD." \
            "Free some (\`make clean\` removes what is half done), then the same again."
    elif grep -qi 'DO NOT MATCH THE HASHES' "$log"; then
        fail "A fetched package is not the one that was locked; nothing of it was installed." \
            "Try again; if it stays, the index or a proxy alters files. Details: $log"
    elif grep -qi 'NewConnectionError\|Failed to establish\|name resolution\|ConnectTimeout\|ReadTimeout\|Read timed out\|ProxyError\|Network is unreachable\|SSLError\|Connection aborted\|ConnectionReset\|from versions: none' "$log"; then
        fail "The packages cannot be fetched: no answer from the network." \
            "Check the connection (and HTTPS_PROXY, PIP_INDEX_URL where you use them), then the same again. Details: $log"
    elif grep -q 'No matching distribution' "$log"; then
        fail "$(sed -n 's/.*No matching distribution found for \([^ ]*\).*/\1/p' "$log" | head -n 1) has no build for Python $version on $(uname -sm)." \
            "Try another Python: PYTHON=python3.11 make ... (after \`make clean\`). Details: $log"
    fi
    tail -n 5 "$log" >&2
    fail "$1" "Details: $log"
}

# --- byte code

# Doubles the speed of every start; only where a source is newer than its last compilation.
compile_package() {
    if [ -e .venv/.compiled ] &&
        [ -z "$(find src -name '*.py' -newer .venv/.compiled -print | head -n 1)" ]; then
        return 0
    fi
    .venv/bin/python -m compileall -q src >/dev/null 2>&1 9>&- || true
    : >.venv/.compiled
}

main
