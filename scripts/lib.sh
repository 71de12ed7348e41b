# Functions of the other scripts, which source this file.

say() { printf 'cordboard: %s\n' "$*" >&2; }

# fail PROBLEM REMEDY: print both and exit.
fail() {
    printf 'cordboard: %s\n' "$1" >&2
    [ -z "${2:-}" ] || printf '  %s\n' "$2" >&2
    exit 1
}

is_root() { [ "$(id -u)" = 0 ]; }

is_debian() { grep -qs '^ID=debian' /etc/os-release && command -v apt-get >/dev/null 2>&1; }

# install_debian PACKAGE: install a package as root, with its output in .make/PACKAGE.log.
install_debian() {
    mkdir -p .make
    {
        DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "$1" ||
            { apt-get -qq update &&
                DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "$1"; }
    } >".make/$1.log" 2>&1 </dev/null
}

# Print "sudo " if the user needs it.
as_root() { is_root || printf 'sudo '; }

# fingerprint up|dev: print a checksum of everything that an installation is made from.
fingerprint() {
    { pwd -P; command -v cc || true; cat "requirements/$1.txt" pyproject.toml hatch_build.py src/cordboard/*/*.c; } | sha256sum | cut -d ' ' -f 1
}

# Fail unless setup.sh has run.
needs_venv() {
    [ -x .venv/bin/python ] || fail "There is no .venv here." "Run it by make, which sets .venv up first: make help"
}
