"""The table ``[phone]``: numbers, carriers, and what applies to all calls.

Keys that begin with ``+`` are numbers (``[phone."+15551234567"]``), other tables are carriers
(``[phone.twilio]``). Secrets come from the environment or from files, and are read at each use, so that a new
secret needs no restart.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from cordboard import secret_files
from cordboard.contract.errors import SettingsError
from cordboard.contract.ids import is_bot_name
from cordboard.contract.urls import check_http_url
from cordboard.settings.secrets import read_secret
from cordboard.settings.suggestions import nearest

SECRETS: Final = ("auth_token", "signing_key", "api_key", "api_token", "password")
"""The secrets of carriers. ``NAME_env`` names a variable, ``NAME_file`` a file."""

_SECRET_KEYS: Final = tuple(f"{name}_{kind}" for name in SECRETS for kind in ("env", "file"))
# E.164: a country code, which begins with 1 to 9, and at most 15 digits in all. The shortest numbers in use
# (Saint Helena) have 7 digits.
_E164: Final = re.compile(r"\+[1-9][0-9]{6,14}")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ACTIONS: Final = ("hangup", "hold")


@dataclass(frozen=True, slots=True, kw_only=True)
class PhoneNumber:
    """What happens to calls of one of our numbers.

    Attributes:
        provider: The carrier of the number; None for any.
        bot: The bot that answers; None for the default.
        after: What happens to the call after the session's end: ``hangup``, ``hold``, or a URL.
        fallback: What the caller gets when no bot can answer: ``busy``, or a URL.
        body: Passed to the bot in ``runner_args.body``.
    """

    provider: str | None = None
    bot: str | None = None
    after: str = "hangup"
    fallback: str = "busy"
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CarrierAccount:
    """The account at one carrier: how its requests are verified, and how calls are made.

    Attributes:
        name: The carrier.
        account: The id of the account, such as Twilio's Account SID.
        application: The id of the application that places calls, if the carrier requires one.
        api_url: The base URL of the carrier's API; None for the carrier's own.
        public_key: The key that verifies the carrier's signatures, where they are not made with a secret.
        user: The user of HTTP basic authentication, where a carrier does not sign.
        addresses: Addresses and networks of the carrier, where it does not sign.
        secret_sources: The sources of secrets: ``auth_token_env`` and its like, with their values.
    """

    name: str
    account: str | None = None
    application: str | None = None
    api_url: str | None = None
    public_key: str | None = None
    user: str | None = None
    addresses: tuple[str, ...] = ()
    secret_sources: Mapping[str, str] = field(default_factory=dict)

    def secrets(self, name: str, *, variable: str = "") -> tuple[str, ...]:
        """Return the current values of a secret; files are read again at each call.

        A variable has a form with ``_FILE``, which names a file, and one with ``_PREV`` for the previous
        value, which is accepted during a change.

        Args:
            name: One of ``SECRETS``.
            variable: The variable that is read if the table names neither a variable nor a file.

        Raises:
            SettingsError: A file has no secret when it is read for the first time.
        """
        file = self.secret_sources.get(f"{name}_file")
        if file:
            value = secret_files.read(f"phone.{self.name}.{name}", file)
            return (value,) if value else ()
        source = self.secret_sources.get(f"{name}_env", variable)
        if not source:
            return ()
        values = (read_secret(source), read_secret(source + secret_files.PREVIOUS))
        return tuple(value for value in values if value)


@dataclass(frozen=True, slots=True, kw_only=True)
class PhoneSettings:
    """The table ``[phone]``.

    Attributes:
        bot: The bot of numbers that name none.
        ring_s: Seconds that a webhook waits for the bot. The caller hears the line ring meanwhile.
        hangup_grace_s: Seconds that a bot has after its carrier reported the end of the call.
        log_numbers: Whether log lines contain the numbers of callers; else their last three digits.
        numbers: Our numbers, in the form of E.164.
        carriers: The accounts, by carrier.
    """

    bot: str = "default"
    ring_s: int = 3
    hangup_grace_s: int = 10
    log_numbers: bool = False
    numbers: Mapping[str, PhoneNumber] = field(default_factory=dict)
    carriers: Mapping[str, CarrierAccount] = field(default_factory=dict)


_GENERAL: Final = ("bot", "ring_s", "hangup_grace_s", "log_numbers")
_NUMBER_KEYS: Final = tuple(item.name for item in fields(PhoneNumber))
_CARRIER_TEXTS: Final = ("account", "application", "api_url", "public_key", "user")
_CARRIER_KEYS: Final = (*_CARRIER_TEXTS, "addresses", *_SECRET_KEYS)
# A carrier waits about 15 s for a document (Twilio's total timeout); the join needs a part of them.
_RING_MAX_S: Final = 10
# A bot that has nobody to talk to needs no longer than this to write down what it has learned.
_GRACE_MAX_S: Final = 600


def is_e164(text: str) -> bool:
    """Return whether ``text`` is a number in the international form, such as +15551234567."""
    return _E164.fullmatch(text) is not None


def phone_settings(table: Mapping[str, Any], path: Path | None) -> PhoneSettings:
    """Return the settings of the table ``[phone]``.

    Args:
        table: The table, as TOML has it.
        path: The file, for messages; relative names of files are relative to it.

    Raises:
        SettingsError: A name is unknown, or a value is invalid.
    """
    values: dict[str, Any] = {"numbers": {}, "carriers": {}}
    for name, value in table.items():
        where = f"{path}: [phone] {name}"
        if isinstance(value, Mapping) and name[:1] in "+0123456789":
            values["numbers"][name] = _number(name, value, f'{path}: [phone."{name}"]')
        elif isinstance(value, Mapping):
            section = f"{path}: [phone.{name}]"
            values["carriers"][name] = _carrier(name, value, section, path)
        elif name in _GENERAL:
            values[name] = _general(name, value, where)
        else:
            raise SettingsError(f"{where}: unknown setting.{nearest(name, _GENERAL)}")
    return PhoneSettings(**values)


def _general(name: str, value: object, where: str) -> object:
    if name == "bot":
        return _bot(value, where)
    if name == "log_numbers":
        if not isinstance(value, bool):
            raise SettingsError(f"{where}: expected true or false, got {value!r}.")
        return value
    most = _RING_MAX_S if name == "ring_s" else _GRACE_MAX_S
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise SettingsError(
            f"{where}: expected a number of seconds from 0 to {most}, got {value!r}."
        )
    return value


def _number(number: str, table: Mapping[str, Any], where: str) -> PhoneNumber:
    if not is_e164(number):
        raise SettingsError(
            f"{where}: invalid number.",
            hint="Write it with + and the country code, without spaces, such as +15551234567 (E.164).",
        )
    _check_names(table, _NUMBER_KEYS, where)
    values = dict(table)
    if "bot" in values:
        _bot(values["bot"], f"{where} bot")
    if "provider" in values:
        _text(values["provider"], f"{where} provider")
    for name, actions in (("after", _ACTIONS), ("fallback", ("busy",))):
        if name in values:
            _action(values[name], actions, f"{where} {name}")
    if not isinstance(values.get("body", {}), dict):
        raise SettingsError(f"{where} body: expected a table, got {values['body']!r}.")
    return PhoneNumber(**values)


def _carrier(name: str, table: Mapping[str, Any], where: str, path: Path | None) -> CarrierAccount:
    for secret in SECRETS:
        if secret in table:
            raise SettingsError(
                f"{where} {secret} is a secret and does not belong in this file.",
                hint=f"Set {secret}_env to the name of a variable, or {secret}_file to that of a file.",
            )
    _check_names(table, _CARRIER_KEYS, where)
    texts = {key: _text(table[key], f"{where} {key}") for key in _CARRIER_TEXTS if key in table}
    if "api_url" in texts:
        texts["api_url"] = check_http_url(f"{where} api_url", texts["api_url"])
    addresses = table.get("addresses", [])
    if not isinstance(addresses, list) or not all(isinstance(item, str) for item in addresses):
        raise SettingsError(f"{where} addresses: expected a list of strings, got {addresses!r}.")
    for item in addresses:
        _network(item, f"{where} addresses")
    sources = {
        key: _source(key, table[key], f"{where} {key}", path)
        for key in _SECRET_KEYS
        if key in table
    }
    return CarrierAccount(name=name, **texts, addresses=tuple(addresses), secret_sources=sources)


def _network(text: str, where: str) -> None:
    import ipaddress  # it takes 3 ms, and few files need it

    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise SettingsError(
            f"{where}: expected an address or a network, got {text!r}.",
            hint="Write 192.0.2.7 or 192.0.2.0/24.",
        ) from error


def _source(key: str, value: object, where: str, path: Path | None) -> str:
    text = _text(value, where)
    if key.endswith("_file"):
        return str((path.parent if path else Path()) / text)
    if not _VARIABLE.fullmatch(text):
        # The value may be the secret itself, so the message does not show it.
        raise SettingsError(
            f"{where}: expected the name of an environment variable.",
            hint="The file names the variable; the environment holds the secret.",
        )
    return text


def _check_names(table: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for name in table:
        if name not in known:
            raise SettingsError(f"{where} {name}: unknown setting.{nearest(name, known)}")


def _action(value: object, actions: tuple[str, ...], where: str) -> None:
    text = _text(value, where)
    if text in actions:
        return
    if not text.startswith(("http://", "https://")):
        choices = ", ".join(actions)
        raise SettingsError(f"{where}: expected {choices} or a URL, got {text!r}.")
    check_http_url(where, text)


def _bot(value: object, where: str) -> str:
    text = _text(value, where)
    if not is_bot_name(text):
        raise SettingsError(
            f"{where}: invalid bot name {text!r}.", hint="Use 1 to 64 of A-Z a-z 0-9 . _ -"
        )
    return text


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise SettingsError(f"{where}: expected a string, got {value!r}.")
    return value
