# Shared by the other scripts: words to the user. Sourced, not run.

say() { printf 'cordboard: %s\n' "$*" >&2; }

# fail WHAT WAY_OUT
fail() {
    printf 'cordboard: %s\n' "$1" >&2
    [ -z "${2:-}" ] || printf '  %s\n' "$2" >&2
    exit 1
}

is_root() { [ "$(id -u)" = 0 ]; }

is_debian() { grep -qs '^ID=debian' /etc/os-release && command -v apt-get >/dev/null 2>&1; }

# "sudo " where the user needs it.
as_root() { is_root || printf 'sudo '; }
