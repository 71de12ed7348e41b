"""Redaction of secrets: values with the name of a secret, and secrets inside a text.

The writer redacts every line. The reader redacts lines again before it hands them to somebody else,
because other programs may have written them. Both use the same names.
"""

import re
from itertools import pairwise
from typing import Final

REDACTED: Final = "[redacted]"
# Programs use some hundred names. If a program makes up names, the cache is cleared at this size.
_NAMES_MAX: Final = 4096

# Names are compared by words, so that `accessToken`, `access_token` and `X-Access-Token` are the same,
# and `tokenizer` is not a secret.
_SECRET_WORDS: Final = frozenset(
    {
        "password",
        "passwd",
        "passphrase",
        "pwd",
        "token",
        "secret",
        "secrets",
        "authorization",
        "cookie",
        "cookies",
        "credential",
        "credentials",
        "apikey",
        "jwt",
        "bearer",
        "accesskey",
        "privatekey",
        "secretkey",
        "signature",
    }
)
_SECRET_PAIRS: Final = frozenset(
    {("api", "key"), ("access", "key"), ("private", "key"), ("secret", "key"), ("auth", "key")}
)
# `token_count` and `secret_type` describe a secret, but do not contain it.
_DESCRIPTIVE_WORDS: Final = frozenset(
    {"count", "usage", "limit", "budget", "type", "length", "ttl", "expiry"}
)
# Words of camelCase, of snake_case and of acronyms.
_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_SECRET_IN_NAME: Final = re.compile(
    r"password|passwd|passphrase|pwd|token|secret|authorization|cookie|credential"
    r"|api[_-]?key|access[_-]?key|signature|jwt",
    re.IGNORECASE,
)
# The name is matched first, and the value separately. A single pattern for both takes quadratic time
# on a hostile text.
_NAME_EQUALS: Final = re.compile(r"(?:^|[?&;#\s(,{'\"])([\w.%-]+)=")
_NAME_COLON: Final = re.compile(r"(?<=[\"'])([\w.%-]+)[\"']:\s?")  # in a repr, or in JSON
_VALUE: Final = re.compile(r"'[^']*'?|\"[^\"]*\"?|[^&#;\s\"'<>,)]+")
_SHORT_NAMES: Final = ("t", "sig", "auth", "key")
_TOKEN_SHORT: Final = re.compile(
    rf"([?&](?:{'|'.join(_SHORT_NAMES)})=)(?!\[redacted\])[^&#\s\"'<>]+", re.IGNORECASE
)
# A password may wrongly contain / ? #; but a number before one of these is a port, as in a URL
# whose path or query has an @. Its length is limited, because the pattern may scan it twice.
_USERINFO: Final = re.compile(r"(://[^/\s:@?#]{0,256}:)(?![0-9]{1,5}[/?#])[^\s@\"'<>]{1,256}@")
# A shorter text after "Bearer" is a word of prose.
_BEARER: Final = re.compile(r"\b(Bearer)(\s+)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)

# API keys of a known format: OpenAI, Anthropic, Stripe; GitHub; Slack;
# AWS; Google; JSON Web Tokens.
_KEY_SHAPES: Final = re.compile(
    r"\b(?:[sprw]k[-_][A-Za-z0-9_-]{12,}|gh[opsur]_[A-Za-z0-9]{20,}|github_pat_\w{20,}"
    r"|xox[a-z]-[A-Za-z0-9-]{10,}|A[KS]IA[0-9A-Z]{16}\b|AIza[A-Za-z0-9_-]{30,}"
    r"|eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+)"
)

_extra_words: set[str] = set()
_secret_names: dict[str, bool] = {}
plain_names: Final[set[str]] = set()
"""A cache of names that are not those of secrets, and that are not in ``reserved_names``."""
reserved_names: Final[set[str]] = set()
"""Names that a writer checks each time, although they are not those of secrets."""


def add_secret_names(names: tuple[str, ...]) -> None:
    """Add ``names``, of one word or several, whose values are redacted from now on."""
    _extra_words.update("".join(_words(name)) for name in names)
    _secret_names.clear()
    plain_names.clear()


def is_secret_name(name: str) -> bool:
    """Return whether ``name`` looks like the name of a secret, in any usual spelling."""
    known = _secret_names.get(name)
    if known is None:
        known = _looks_secret(name)
        # A program that makes up names must not make this process grow.
        if len(_secret_names) >= _NAMES_MAX:
            _secret_names.clear()
            plain_names.clear()
        _secret_names[name] = known
        if not known and name not in reserved_names:
            plain_names.add(name)
    return known


def is_secret_parameter(name: str) -> bool:
    """Return whether ``name``, of a parameter in a URL's query, is that of a secret.

    Short names such as Daily's ``t`` count, too. The result is the same in every process: names that one
    process adds (`add_secret_names`) do not count.
    """
    return name.lower() in _SHORT_NAMES or _holds_secret_word(_words(name))


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(name[:256])]


def _looks_secret(name: str) -> bool:
    words = _words(name)
    return "".join(words) in _extra_words or _holds_secret_word(words)


def _holds_secret_word(words: list[str]) -> bool:
    if words and words[-1] in _DESCRIPTIVE_WORDS:
        return False
    return not (_SECRET_WORDS.isdisjoint(words) and _SECRET_PAIRS.isdisjoint(pairwise(words)))


def redact(text: str) -> str:
    """Return ``text`` without the secrets in its URLs, headers, reprs and ``name=value`` pairs."""
    if "=" in text:
        text = _without_secrets(text, _NAME_EQUALS)
        if "?" in text:
            text = _TOKEN_SHORT.sub(rf"\1{REDACTED}", text)
    if "':" in text or '":' in text:
        text = _without_secrets(text, _NAME_COLON)
    if "://" in text and "@" in text:
        text = _USERINFO.sub(rf"\1{REDACTED}@", text)
    if "earer " in text:
        text = _BEARER.sub(rf"\1\2{REDACTED}", text)
    return text


def redact_keys(text: str) -> str:
    """Return ``text`` as `redact` does, and without API keys of a well-known format."""
    return _KEY_SHAPES.sub(REDACTED, redact(text))


def _without_secrets(text: str, names: re.Pattern[str]) -> str:
    pieces: list[str] = []
    done = 0
    for match in names.finditer(text):
        end = match.end()
        if end <= done or text.startswith(REDACTED, end) or not _is_secret_in_text(match[1]):
            continue
        value = _VALUE.match(text, end)
        if value is not None:
            pieces += [text[done:end], REDACTED]
            done = value.end()
    return "".join([*pieces, text[done:]]) if pieces else text


def _is_secret_in_text(name: str) -> bool:
    """Return whether the value after ``name`` in a text is redacted: more names than in a record."""
    if not _SECRET_IN_NAME.search(name):
        return False
    words = _words(name)
    return not words or (words[-1] not in _DESCRIPTIVE_WORDS and words[-1] != "tokens")
