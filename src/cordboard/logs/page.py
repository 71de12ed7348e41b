"""What a page says in plain words, and from which conclusions are drawn.

A page's lines are in JavaScript (`interface/static/call.js`); a test compares them.
"""

from typing import Final

BROWSER: Final = "browser"
"""The service of a page's lines. Whoever is signed in can write some: they are a claim."""

HEARD: Final = "First audio of the bot heard"
"""The page has measured sound of the bot."""

CLOSED: Final = frozenset({"Call ended", "Page closed in the call"})
"""With one of these a page ends each call; without one its last lines have been lost."""
