#!/bin/sh
# The same as `cordboard logs`, from any directory: get-logs.sh --local -t 10m --session ID
#
# Takes the clone's own .venv where there is one, else the cordboard that is installed.
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
