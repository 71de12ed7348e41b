#!/bin/sh
# Sets up .venv: setup.sh up|dev
#
# A stamp in .venv holds the fingerprint of the installation. It is written last, so that a second run has nothing to
# do. While pip writes, .venv/.unfinished exists: the next run removes an environment in which it finds that file.
#
# pip ends when this script ends, and this script when make ends, however they end (guarded.py).
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh

kind="${1:?up or dev}"
log=.make/install.log
unset PYTHONDONTWRITEBYTECODE

main() {
    trap 'end_child' EXIT
    trap 'interrupted 129' HUP
    trap 'interrupted 130' INT
    trap 'interrupted 131' QUIT
    trap 'interrupted 143' TERM
    at_terminal=$(has_terminal && echo yes || true)
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
    if flock -n 9; then return 0; fi
    say "another make sets things up here; waiting for it"
    until flock -w 1 9; do parent_lives || exit 1; done
}

# --- is there anything to do?

is_done() {
    [ ! -e .venv/.unfinished ] || return 1
    [ "$(cat ".venv/.stamp-$kind" 2>/dev/null)" = "$(fingerprint "$kind")" ] || return 1
    .venv/bin/python -I -S -c '' 2>/dev/null
}

write_stamps() {
    rm -f .venv/.unfinished
    fingerprint up >.venv/.stamp-up
    # dev.txt contains up.txt, in the same versions.
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
    guarded "$python" venv .venv || explain "Cannot make the virtual environment .venv."
    rm .venv/.unfinished
}

# Return whether .venv is complete, belongs to this folder (its scripts contain absolute paths), and still runs.
usable_venv() {
    [ ! -e .venv/.unfinished ] &&
        grep -qsF "$(pwd -P)/.venv" .venv/bin/pip &&
        .venv/bin/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

install_locked() {
    count=$(grep -c '^[a-z0-9].*==' "requirements/$kind.txt") || fail "requirements/$kind.txt names no package."
    say "installing $count locked packages: about 400 MB to fetch once; one to five minutes"
    began=$(date +%s)
    pip install --progress-bar off --require-hashes -r "requirements/$kind.txt" ||
        explain "Installing the dependencies failed."
}

install_package() {
    count=""
    began=$(date +%s)
    # venv installs setuptools, whose .pth file would run at each start.
    pip uninstall -q -y setuptools || true
    pip install --progress-bar off --no-deps --no-build-isolation -e . ||
        explain "Installing cordboard itself failed."
}

pip() {
    guarded .venv/bin/python pip --disable-pip-version-check --no-input "$@"
}

# --- a child that ends with this script: guarded PYTHON MODULE ARGUMENT ...

# The output goes to the log; on a terminal, one line shows the progress.
guarded() {
    interpreter=$1
    shift
    "$interpreter" -I scripts/guarded.py $$ "$@" >"$log" 2>&1 9>&- &
    child=$!
    while kill -0 "$child" 2>/dev/null; do
        parent_lives || interrupted 1
        has_terminal || [ -z "$at_terminal" ] || interrupted 129
        if [ -t 2 ]; then tell_progress; fi
        sleep 0.5
    done
    if [ -t 2 ]; then printf '\r\033[K' >&2; fi
    ended=$child
    child=""
    wait "$ended"
}

tell_progress() {
    [ -n "${began:-}" ] || return 0
    printf '\r\033[K  %s, %s s' "$(step)" "$(($(date +%s) - began))" >&2
}

step() {
    if [ -z "$count" ]; then
        echo "installing cordboard itself"
    elif grep -q '^Installing collected' "$log"; then
        echo "installing: writing the packages into .venv"
    else
        fetching "$(lines '^Collecting\|^Requirement already')"
    fi
}

# The lock has packages of other systems too; pip first lists those that it skips.
fetching() {
    if [ "$1" = 0 ]; then
        echo "installing: asking for the first of $count packages"
    else
        echo "installing: fetching package $1 of $((count - $(lines '^Ignoring')))"
    fi
}

# Print how many lines of the log match; the status of grep is 1 if none does.
lines() { grep -c "$1" "$log" || true; }

# Return whether the process that started this script, usually make, still runs.
parent_lives() {
    read -r _ _ _ parent _ <"/proc/$$/stat" 2>/dev/null || return 0
    [ "$parent" = "$PPID" ]
}

# Return whether there is a controlling terminal. When it closes, the kernel signals only the session leader, which may
# be a make that waits for this script (ssh -t HOST make install).
has_terminal() { (: </dev/tty) 2>/dev/null; }

interrupted() {
    trap '' HUP INT QUIT TERM
    end_child
    printf '\n' >&2 || true
    say "interrupted; the next make continues the set-up" || true
    exit "$1"
}

end_child() {
    [ -n "${child:-}" ] || return 0
    kill "$child" 2>/dev/null || true
    tries=0
    while [ "$tries" -lt 30 ] && kill -0 "$child" 2>/dev/null; do
        sleep 0.1
        tries=$((tries + 1))
    done
    kill -KILL "-$child" 2>/dev/null || true
    child=""
}

# Explain in one sentence, from the log, why the last step failed.
explain() {
    if grep -qi 'No space left on device\|Errno 28' "$log"; then
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

# Compiled modules halve the time of every start. Runs only if a source is newer than the last compilation.
compile_package() {
    if [ -e .venv/.compiled ] &&
        [ -z "$(find src -name '*.py' -newer .venv/.compiled -print | head -n 1)" ]; then
        return 0
    fi
    .venv/bin/python -m compileall -q src >/dev/null 2>&1 9>&- || true
    : >.venv/.compiled
}

main
