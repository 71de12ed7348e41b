#!/bin/sh
# Writes the generated pages of docs/, checks all links, and builds the documentation site:
#   docs.sh [--coverage] [--no-pictures]
# The pictures of docs/images are made anew. With --coverage, docs/coverage.md is written too, for which all tests run.
# The site needs packages of its own (requirements/docs.txt): they are in .make/site, and nowhere else.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh

needs_venv
CHROMIUM=$(scripts/chromium.sh) || CHROMIUM=
export CHROMIUM
.venv/bin/python scripts/docs.py "$@"
site=.make/site
stamp=$(sha256sum requirements/docs.txt | cut -d ' ' -f 1)
if [ "$(cat "$site/.stamp" 2>/dev/null)" != "$stamp" ]; then
    say "installing $(grep -c '^[a-z0-9].*==' requirements/docs.txt) packages for the documentation site"
    rm -rf "$site"
    .venv/bin/python -m venv "$site"
    "$site/bin/pip" install -q --disable-pip-version-check --no-input --require-hashes -r requirements/docs.txt \
        >.make/site.log 2>&1 ||
        fail "The packages of the documentation site cannot be installed." \
            "Check the connection (and HTTPS_PROXY, PIP_INDEX_URL where you use them), then the same again. Details: .make/site.log"
    printf '%s\n' "$stamp" >"$site/.stamp"
fi
if ! NO_MKDOCS_2_WARNING=1 "$site/bin/mkdocs" build >.make/site.log 2>&1; then
    grep -v '^INFO' .make/site.log >&2 || true
    fail "The documentation site cannot be built." "Repair what is named above, then the same again."
fi
if foreign=$(grep -rlE --include='*.html' '<(script|link|img|iframe)[^>]* (src|href)="https?://' site); then
    fail "Pages of the site load something from another site:" "$foreign"
fi
say "the site is in site/index.html"
