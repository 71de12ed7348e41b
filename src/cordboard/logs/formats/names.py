"""Which sessions the bytes of lines name, in whatever form: JSON in any white space, JSON inside of JSON, text."""

import re
from functools import cache
from typing import Final

from cordboard.contract.record import SERVER_PREFIX, SESSION_ID
from cordboard.logs.blocks import Block
from cordboard.logs.formats import NO_NAMES, Formats

COLOUR: Final = rb"(?:\x1b|\\u001[bB])\[[0-9;:]{0,32}m"
"""A colour of a terminal, as it is or as JSON escapes it; part of a pattern."""

_QUOTE: Final = rb"(?:\\{0,15}[\"'])?"
_OF_SENTENCES: Final = (
    ".:@-~"  # an id may end with these, but in a sentence they are the sentence's
)
_NAMELESS: Final = {name.encode() for name in NO_NAMES}
_SERVER: Final = SERVER_PREFIX.encode()


def names_another(session: str, block: Block, formats: Formats) -> bool:
    """Return whether a line of `block` names another session than `session`; one of a process is none.

    Args:
        session: The id of the session.
        block: The lines.
        formats: Under which names lines that are not ours name a session.
    """
    names = tuple(formats.names[SESSION_ID])
    words = _words(names)
    if sum(map(block.count, words)) == _own(session, block):  # as in most blocks
        return False
    ours = {b"", session.encode(), session.rstrip(_OF_SENTENCES).encode(), *_NAMELESS}
    found = set(_naming(names).findall(block.data))
    return any(
        not ({name, name.rstrip(_OF_SENTENCES.encode())} & ours or name.startswith(_SERVER))
        for name in found
    )


def _own(session: str, block: Block) -> int:
    """Return how often lines of ours name the session, or none."""
    own = [f'"sessionId":"{session}"'.encode(), b'"sessionId":"server:']
    return sum(block.count(text) + block.count(text.replace(b'"', b'\\"')) for text in own)


@cache
def _words(names: tuple[str, ...]) -> tuple[bytes, ...]:
    """Return texts of which one stands where a session is named; each name holds one of them, once."""
    parts = [part for name in names for part in _spellings(name)]
    return tuple({part for part in parts if not any(o != part and o in part for o in parts)})


def _spellings(name: str) -> tuple[bytes, ...]:
    """Return how a name begins: one with dots may mean nested objects."""
    head, dot, _ = name.encode().partition(b".")
    return (name.encode(), head + b'"', head + b"\\") if dot else (name.encode(),)


@cache
def _naming(names: tuple[str, ...]) -> re.Pattern[bytes]:
    nested = rb"(?:\.|" + _QUOTE + rb"\s{0,9}:\s{0,9}\{\s{0,9}" + _QUOTE + rb")"
    spelt = b"|".join(nested.join(map(re.escape, name.encode().split(b"."))) for name in names)
    colours = rb"(?:" + COLOUR + rb"){0,4}"
    return re.compile(
        rb"(?:(?<![\w.-])|%b)(?:%b)%b%b\s{0,9}[=:]\s{0,9}%b%b%b([^\s\"'\\,;()\[\]{}\x1b]{1,256})"
        % (COLOUR, spelt, colours, _QUOTE, colours, _QUOTE, colours)
    )
