#!/bin/sh
# Runs `cordboard logs` from any directory: get-logs.sh --local -t 10m --session ID
#
# It uses the clone's .venv if there is one, otherwise the installed cordboard.
set -eu
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"

own="$here/../.venv/bin/cordboard"
if [ -x "$own" ] && [ ! -e "$here/../.venv/.unfinished" ]; then
    exec env -u PYTHONDONTWRITEBYTECODE "$own" logs "$@"
elif command -v cordboard >/dev/null 2>&1; then
    exec cordboard logs "$@"
fi
fail "Cordboard is not installed here." "Run \`make install\` in $(dirname "$here"), or \`pip install cordboard\`."
