"""The table [phone]: numbers, carriers, and errors that help."""

from pathlib import Path

import pytest

from cordboard import settings
from cordboard.contract.errors import SettingsError
from cordboard.settings.phone import PhoneNumber, is_e164

FULL = """
public_url = "https://voice.example.com"
[phone]
bot = "front"
ring_s = 5
hangup_grace_s = 20
log_numbers = true
[phone."+15551234567"]
provider = "twilio"
bot = "support"
after = "hold"
fallback = "https://app.example.com/fallback"
body = { tenant = "acme" }
[phone.twilio]
account = "AC1"
auth_token_env = "MY_TOKEN"
[phone.plivo]
auth_token_file = "plivo.token"
[phone.telnyx]
public_key = "abc"
api_url = "http://127.0.0.1:9/"
[phone.exotel]
user = "exotel"
addresses = ["192.0.2.0/24", "2001:db8::1"]
"""


def load(tmp_path: Path, text: str) -> settings.Settings:
    path = tmp_path / "cordboard.toml"
    path.write_text(text, encoding="utf-8")
    return settings.load(path)


def test_all_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers by +, carriers by name; secrets by name of a variable or a file beside the settings."""
    monkeypatch.setenv("MY_TOKEN", "token from the environment")
    (tmp_path / "plivo.token").write_text("token from a file\n")
    phone = load(tmp_path, FULL).phone
    assert (phone.bot, phone.ring_s, phone.hangup_grace_s, phone.log_numbers) == (
        "front",
        5,
        20,
        True,
    )
    assert phone.numbers == {
        "+15551234567": PhoneNumber(
            provider="twilio",
            bot="support",
            after="hold",
            fallback="https://app.example.com/fallback",
            body={"tenant": "acme"},
        )
    }
    assert phone.carriers["twilio"].secrets("auth_token") == ("token from the environment",)
    assert phone.carriers["plivo"].secrets("auth_token") == ("token from a file",)
    assert phone.carriers["telnyx"].api_url == "http://127.0.0.1:9"
    assert phone.carriers["exotel"].addresses == ("192.0.2.0/24", "2001:db8::1")
    assert phone.carriers["exotel"].secrets("password") == ()


def test_without_the_table_there_are_defaults(tmp_path: Path) -> None:
    """No number, no carrier, three seconds of ringing, no number in the log."""
    phone = load(tmp_path, "").phone
    assert (phone.bot, phone.ring_s, phone.log_numbers) == ("default", 3, False)
    assert (dict(phone.numbers), dict(phone.carriers)) == ({}, {})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("phone = 1", "phone is a table: write [phone]."),
        ("[phone]\nring = 1", "[phone] ring: unknown setting. Did you mean ring_s?"),
        ("[phone]\nring_s = 11", "expected a number of seconds from 0 to 10, got 11"),
        ("[phone]\nring_s = true", "expected a number of seconds"),
        ("[phone]\nlog_numbers = 'yes'", "expected true or false, got 'yes'"),
        ("[phone]\nbot = 'a b'", "invalid bot name 'a b'"),
        ('[phone."15551234567"]', "Write it with + and the country code"),
        ('[phone."+0555123456"]', "invalid number"),
        ('[phone."+1 555 123 4567"]', "without spaces"),
        ('[phone."+15551234567"]\nafer = "hold"', "Did you mean after?"),
        ('[phone."+15551234567"]\nafter = "wait"', "expected hangup, hold or a URL, got 'wait'"),
        ('[phone."+15551234567"]\nafter = "ftp://x"', "expected hangup, hold or a URL"),
        ('[phone."+15551234567"]\nfallback = "hold"', "expected busy or a URL, got 'hold'"),
        ('[phone."+15551234567"]\nbody = 1', "body: expected a table, got 1"),
        ('[phone."+15551234567"]\nprovider = 1', "provider: expected a string, got 1"),
        ("[phone.twilio]\nauth_toke_env = 'X'", "Did you mean auth_token_env?"),
        (
            "[phone.twilio]\nauth_token_env = 'a secret!'",
            "expected the name of an environment variable",
        ),
        ("[phone.twilio]\naddresses = 'x'", "expected a list of strings"),
        ("[phone.exotel]\naddresses = ['x']", "expected an address or a network, got 'x'"),
        ("[phone.twilio]\napi_url = 'x'", "api_url"),
        ("[phone.twilio]\naccount = ''", "account: expected a string, got ''"),
    ],
)
def test_errors_say_what_is_expected(tmp_path: Path, text: str, words: str) -> None:
    """Each error names the place, and what to write there."""
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, text)
    assert words in str(caught.value)


def test_a_secret_in_the_file_is_refused_and_not_shown(tmp_path: Path) -> None:
    """The message says where secrets come from, and does not repeat one."""
    for text in (
        "[phone.twilio]\nauth_token = '0123456789abcdef-secret'",
        "[phone.twilio]\nauth_token_env = '0123456789abcdef-secret'",
    ):
        with pytest.raises(SettingsError) as caught:
            load(tmp_path, text)
        assert "0123456789abcdef" not in str(caught.value)
    assert "auth_token_file" in str(caught.value) or "environment" in str(caught.value)


@pytest.mark.parametrize("number", ["+15551234567", "+2902345", "+491701234567"])
def test_numbers(number: str) -> None:
    """E.164: a plus, a country code, at most 15 digits."""
    assert is_e164(number)
    assert not is_e164(number[1:])
    assert not is_e164(number + "0123456789")
