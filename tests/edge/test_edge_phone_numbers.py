"""Numbers: one form for the ways in which carriers write them, and none of a person in the log."""

import pytest

from cordboard.edge.phone.numbers import find_number, international, is_withheld, shown, user_id
from cordboard.edge.phone.paths import CallPaths
from cordboard.settings.phone import PhoneNumber


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("+15551234567", "+15551234567"),
        ("15551234567", "+15551234567"),
        ("+1 (555) 123-4567", "+15551234567"),
        ("sip:alice@example.com", "sip:alice@examplecom"),
        ("08012345678", "08012345678"),
        ("", ""),
    ],
)
def test_international_form(text: str, number: str) -> None:
    """Plivo leaves out the plus; a national number and an address stay as they are."""
    assert international(text) == number


def test_the_id_of_a_person_is_the_same_for_each_spelling_and_needs_the_secret() -> None:
    """Without the secret nobody can test a number against an id."""
    first = user_id("+15557654321", ("secret",))
    assert first is not None
    assert first.startswith("tel:")
    assert "7654321" not in first
    assert user_id("15557654321", ("secret", "previous")) == first
    assert user_id("+15557654321", ("other",)) != first
    assert user_id("+15557654322", ("secret",)) != first


@pytest.mark.parametrize("text", ["", "anonymous", "Anonymous", "+266696687", "Restricted"])
def test_a_withheld_number_is_nobody(text: str) -> None:
    """All callers without a number would otherwise be one user."""
    assert is_withheld(text)
    assert user_id(text, ("secret",)) is None
    assert shown(text, in_full=True) == "withheld"


def test_log_lines_have_three_digits() -> None:
    """Unless the operator wants the number."""
    assert shown("+15557654321", in_full=False) == "…321"
    assert shown("+15557654321", in_full=True) == "+15557654321"


def test_numbers_are_found_as_carriers_write_them() -> None:
    """With and without plus; Exotel leaves out the country code; another carrier's number is not ours."""
    indian, other = PhoneNumber(bot="in"), PhoneNumber(provider="twilio", bot="us")
    numbers = {"+918047112345": indian, "+15551234567": other}
    assert find_number("918047112345", numbers, "plivo") is indian
    assert find_number("08047112345", numbers, "exotel") is indian
    assert find_number("+15551234567", numbers, "twilio") is other
    assert find_number("+15551234567", numbers, "telnyx") == PhoneNumber()
    assert find_number("12345", numbers, "exotel") == PhoneNumber()
    assert find_number("", numbers, "exotel") == PhoneNumber()


def test_paths_of_calls_are_good_for_their_session_and_step_only() -> None:
    """Whoever copies one cannot make another."""
    secrets = ["first"]
    paths = CallPaths(lambda: tuple(secrets))
    path = paths.path("telnyx", "again", "v3:a@b~c")
    _, _, provider, step, session_id, mac = path.split("/")
    assert (provider, step, session_id) == ("telnyx", "again", "v3:a@b~c")
    assert paths.is_ours("telnyx", "again", "v3:a@b~c", mac)
    assert not paths.is_ours("twilio", "again", "v3:a@b~c", mac)
    assert not paths.is_ours("telnyx", "answer", "v3:a@b~c", mac)
    assert not paths.is_ours("telnyx", "again", "v3:other", mac)
    assert not paths.is_ours("telnyx", "again", "v3:a@b~c", "é")
    secrets.insert(0, "second")
    assert paths.is_ours("telnyx", "again", "v3:a@b~c", mac)
    secrets.pop()
    assert not paths.is_ours("telnyx", "again", "v3:a@b~c", mac)


def test_paths_without_a_secret_are_good_for_one_process() -> None:
    """On loopback there may be no secret; another process does not accept the paths."""
    paths = CallPaths(lambda: ())
    mac = paths.path("twilio", "again", "CA1").rpartition("/")[2]
    assert paths.is_ours("twilio", "again", "CA1", mac)
    assert not CallPaths(lambda: ()).is_ours("twilio", "again", "CA1", mac)
