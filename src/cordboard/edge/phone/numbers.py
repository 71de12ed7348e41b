"""Telephone numbers: one form for those that carriers write differently, and none of a person in the log."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from cordboard.edge.caller import caller_id, masked_number
from cordboard.settings.phone import PhoneNumber, is_e164

# What carriers send for a number that is withheld. The digits are Twilio's, which spell ANONYMOUS,
# RESTRICTED, BLOCKED, UNKNOWN and UNAVAILABLE on the keys of a telephone
# (https://support.twilio.com/hc/en-us/articles/223179988).
_WITHHELD: Final = frozenset(
    {
        "", "anonymous", "restricted", "blocked", "private", "unknown", "unavailable",
        "266696687", "7378742833", "2562533", "8656696", "86282452253",
    }
)  # fmt: skip
# Digits that make a number of one country unique enough to be found without its country code.
_NATIONAL_DIGITS_MIN: Final = 8


def international(text: str) -> str:
    """Return a number in the form of E.164, if it has its country code; else the text without spaces.

    Args:
        text: The number as a carrier writes it: Plivo and Exotel leave out the ``+``.
    """
    compact = re.sub(r"[\s().-]", "", text)
    candidate = compact if compact.startswith("+") else f"+{compact}"
    return candidate if is_e164(candidate) else compact


def is_withheld(text: str) -> bool:
    """Return whether a carrier's text for a number means that the number is withheld."""
    return text.strip().lstrip("+").lower() in _WITHHELD


def user_id(number: str, secrets: Iterable[str]) -> str | None:
    """Return the id of the person with a number; None if the number is withheld.

    The number cannot be computed from the id without the secret, and the same number has the same id.

    Args:
        number: The number.
        secrets: The control secrets, the current one first.
    """
    if is_withheld(number):
        return None
    return caller_id(international(number), next(iter(secrets), ""))


def shown(number: str, *, in_full: bool) -> str:
    """Return a person's number as log lines have it.

    Args:
        number: The number.
        in_full: Whether it is shown at all (``log_numbers``); else its last three digits.
    """
    if is_withheld(number):
        return "withheld"
    return international(number) if in_full else masked_number(number)


def find_number(number: str, numbers: Mapping[str, PhoneNumber], provider: str) -> PhoneNumber:
    """Return what is configured for one of our numbers; the defaults if nothing is.

    Args:
        number: The number, as the carrier writes it. Exotel leaves out the country code.
        numbers: The configured numbers.
        provider: The carrier.
    """
    mine = {key: value for key, value in numbers.items() if value.provider in {None, provider}}
    exact = mine.get(international(number))
    if exact is not None:
        return exact
    national = re.sub(r"\D", "", number).lstrip("0")
    if len(national) >= _NATIONAL_DIGITS_MIN:
        same = [value for key, value in mine.items() if key.endswith(national)]
        if len(same) == 1:
            return same[0]
    return PhoneNumber()
