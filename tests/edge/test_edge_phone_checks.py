"""`cordboard doctor` on telephone calls."""

from pathlib import Path
from typing import Any

import pytest

from cordboard.cli import main
from cordboard.contract.errors import SettingsError
from cordboard.edge.app import create_app
from cordboard.edge.phone.carriers import CARRIERS
from cordboard.edge.phone.checks import check_addresses
from cordboard.settings import Settings
from cordboard.settings.phone import CarrierAccount
from edge.phone_support import TELNYX_PUBLIC, TOKEN, accounts, phone_settings
from tests_support import served

NUMBER = '[phone."+15551234567"]\nprovider = "twilio"\n'
URL = 'public_url = "https://127.0.0.1:9"\n'


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for carrier in CARRIERS.values():
        for variable in carrier.variables.values():
            monkeypatch.delenv(variable, raising=False)


def doctor(tmp_path: Path, capfd: Any, text: str) -> list[str]:
    """Return what `doctor` prints about telephone calls."""
    file = tmp_path / "cordboard.toml"
    file.write_text(text)
    main(["doctor", "--config", str(file)])
    lines: list[str] = capfd.readouterr().out.splitlines()
    found = [number for number, line in enumerate(lines) if line[6:].startswith("phone")]
    hints = [number + 1 for number in found if lines[number].startswith("FAIL")]
    return [lines[number].strip() for number in sorted([*found, *hints])]


def test_nothing_is_configured(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """That is no fault."""
    assert doctor(tmp_path, capfd, "") == [
        "ok    phone          no telephone carrier is configured"
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (NUMBER, "FAIL  phone twilio   has no key; its requests get 404"),
        (NUMBER, "Set auth_token_env or auth_token_file in [phone.twilio]."),
        (NUMBER, "FAIL  phone address  public_url is not set; carriers get 404"),
        (
            '[phone.twilio]\nauth_token_env = "NO_SUCH_TOKEN"',
            "Set the environment variable NO_SUCH_TOKEN, which [phone.twilio] names.",
        ),
        ('[phone."15551234567"]', ""),
        ('[phone.telnyx]\npublic_key = "abc"', "public_key is no Ed25519 key in base64"),
        (
            f'[phone.telnyx]\npublic_key = "{TELNYX_PUBLIC}"',
            "answers calls; to place some, set account",
        ),
        ('[phone.twilio]\nauth_token_file = "none"', "FAIL  phone twilio   "),
        ('public_url = "http://x"\n' + NUMBER, "carriers open streams by TLS only"),
        (URL + NUMBER, "FAIL  phone address  https://127.0.0.1:9/phone/twilio: Client"),
        ("[phone.twillio]", "Did you mean twilio?"),
    ],
)
def test_faults_are_named_with_the_way_out(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    """Keys, the public address, names of carriers, the form of numbers."""
    assert words in "\n".join(doctor(tmp_path, capfd, text))


def test_complete_settings_pass(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the environment, as the carriers' own libraries have them."""
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", TOKEN)
    monkeypatch.setenv("TWILIO_ACCOUNT_SID", "AC1")
    lines = doctor(tmp_path, capfd, "")
    assert lines[0] == "ok    phone twilio   answers and places calls"
    assert TOKEN not in "".join(lines)


async def test_the_public_address_is_tried_with_an_unsigned_webhook(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An edge with the key refuses it; another server, or an edge without the key, does not know it."""
    monkeypatch.setenv("TEST_CARRIER_TOKEN", TOKEN)
    accounts_by_name = {"twilio": accounts()["twilio"]}
    phone = phone_settings(accounts_by_name=accounts_by_name)
    edge = create_app(Settings(public_url="https://voice.example.com", phone=phone))
    async with served(edge) as url:
        twilio, plivo = await check_addresses(url, [CARRIERS["twilio"], CARRIERS["plivo"]])
    assert twilio.ok
    assert twilio.message.endswith("/phone/twilio leads to an edge with Twilio's key")
    assert not plivo.ok
    assert plivo.message.endswith("/phone/plivo answers 404")


@pytest.mark.parametrize("key", ["abc", "AAAA"])
def test_an_edge_does_not_start_with_a_malformed_key(key: str) -> None:
    """All its calls would be refused."""
    phone = phone_settings(
        accounts_by_name={"telnyx": CarrierAccount(name="telnyx", public_key=key)}
    )
    with pytest.raises(SettingsError, match="no Ed25519 key"):
        create_app(Settings(phone=phone))
