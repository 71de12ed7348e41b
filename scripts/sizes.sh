#!/bin/sh
# Measures what each extra adds to an installation of the package, and prints the table of the README.
# Fetches the locked packages into temporary environments (about 400 MB); nothing in the clone changes.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh

needs_venv
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# The locked versions without their hashes: pip takes no constraints with hashes.
sed -n 's/^\([a-z0-9][^ ]*==[^\\]*\).*/\1/p' requirements/dev.txt >"$folder/constraints.txt"
.venv/bin/python -m hatchling build -t wheel -d "$folder/dist" >/dev/null 2>&1 || fail "The wheel cannot be built."
wheel=$(ls "$folder"/dist/*.whl)

# installed EXTRA: kilobytes of an installation with that extra, or with none.
installed() {
    .venv/bin/python -m venv --without-pip "$folder/venv" >&2
    .venv/bin/python -m pip --python "$folder/venv/bin/python" install --quiet \
        -c "$folder/constraints.txt" "$wheel${1:+[$1]}" >&2
    du -sk --apparent-size "$folder"/venv/lib/python*/site-packages | cut -f 1
    rm -rf "$folder/venv"
}

row() { printf '| %s | %s | %s%s MB |\n' "$1" "$2" "${4:-+ }" "$((($3 + 512) / 1024))"; }

base=$(installed "")
serve=$(installed serve)
bots=$(installed bots)
row_of() { row "\`cordboard[$1]\`" "$2" "$(($(installed "$1") - $3))"; }

printf '| package | for | disk space |\n|---|---|---|\n'
row '`cordboard`' 'the logging library and `cordboard logs`' "$base" ' '
row '`cordboard[serve]`' 'gateway, operator and interface' "$((serve - base))"
row '`cordboard[bots]`' 'runner and `cordboard call`, with Pipecat; includes `serve`' "$((bots - base))"
row_of local '`cordboard up`, with an embedded Valkey; includes `bots`' "$base"
row_of kubernetes 'logs of a cluster, runners as Jobs' "$base"
row_of oidc 'signing in to the interface with OpenID Connect' "$base"
row_of cloudwatch 'log groups of Amazon CloudWatch' "$base"
row_of otel 'trace ids of OpenTelemetry' "$base"
