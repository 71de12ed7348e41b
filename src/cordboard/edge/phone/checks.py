"""Checks of the settings of telephone calls, for ``cordboard doctor``."""

import asyncio
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from os import environ
from typing import Final, NamedTuple

import aiohttp

from cordboard.contract.errors import CordboardError
from cordboard.contract.http_api import read_problem
from cordboard.contract.urls import redacted_url
from cordboard.edge.phone.carriers import CARRIERS, Carrier
from cordboard.edge.phone.credentials import Credentials
from cordboard.edge.phone.desk import check_names, credentials_of
from cordboard.edge.phone.errors import SignatureError
from cordboard.settings import Settings
from cordboard.settings.phone import SECRETS

TIMEOUT_S: Final = 5.0  # for the answer of a public address, through a proxy or a tunnel
_ANSWER_MAX_BYTES: Final = 64 * 1024


class PhoneCheck(NamedTuple):
    """The result of one check.

    Attributes:
        name: What was checked.
        ok: Whether it passed.
        message: The result.
        hint: How to fix it; empty if there is nothing to fix.
    """

    name: str
    ok: bool
    message: str
    hint: str = ""


def check_phone(settings: Settings) -> list[PhoneCheck]:
    """Return the results of all checks; an empty list if no carrier is configured.

    Args:
        settings: The settings of this machine.

    Raises:
        SettingsError: ``[phone]`` names an unknown carrier.
    """
    check_names(settings)
    carriers = list(_used_carriers(settings))
    if not carriers:
        return []
    checks = [_check_carrier(carrier, credentials_of(carrier, settings)) for carrier in carriers]
    if settings.public_url is None:
        hint = "Set public_url to the https address at which carriers reach the edge."
        return [
            *checks,
            PhoneCheck("address", False, "public_url is not set; carriers get 404", hint),
        ]
    if not settings.public_url.startswith("https://"):
        message = f"{redacted_url(settings.public_url)}: carriers open streams by TLS only"
        return [*checks, PhoneCheck("address", False, message, "Use an https address.")]
    return [*checks, *asyncio.run(check_addresses(settings.public_url, carriers))]


def _used_carriers(settings: Settings) -> Iterator[Carrier]:
    """Yield the carriers that have a table, a number, or a key in the environment."""
    named = {number.provider for number in settings.phone.numbers.values()}
    for name, carrier in CARRIERS.items():
        try:
            has_key = carrier.proof.is_configured(credentials_of(carrier, settings))
        except CordboardError:
            has_key = True  # one that cannot be used, which the check reports
        if name in settings.phone.carriers or name in named or has_key:
            yield carrier


def _check_carrier(carrier: Carrier, account: Credentials) -> PhoneCheck:
    name = carrier.name
    try:
        if not carrier.proof.is_configured(account):
            hint = _missing_key(carrier, account)
            return PhoneCheck(name, False, "has no key; its requests get 404", hint)
        missing = [item for item in carrier.order_settings if not _has(account, item)]
    except CordboardError as error:
        return PhoneCheck(name, False, error.message, error.hint)
    if missing:
        return PhoneCheck(name, True, f"answers calls; to place some, set {', '.join(missing)}")
    return PhoneCheck(name, True, "answers and places calls")


def _missing_key(carrier: Carrier, account: Credentials) -> str:
    """Return how to set the key that verifies requests."""
    sources = account.account.secret_sources
    variables = [sources[key] for key in sources if key.endswith("_env")]
    # A table that names a variable is complete: then only the variable itself can be missing.
    unset = [variable for variable in variables if not environ.get(variable)]
    if unset:
        names = " and ".join(unset)
        return f"Set the environment variable {names}, which [phone.{carrier.name}] names."
    return f"Set {carrier.proof_settings} in [phone.{carrier.name}]."


def _has(account: Credentials, name: str) -> bool:
    return bool(account.secret(name) if name in SECRETS else account.text(name))


async def check_addresses(public_url: str, carriers: Iterable[Carrier]) -> list[PhoneCheck]:
    """Return whether a public address leads to an edge that has the keys of the carriers.

    An unsigned webhook of each carrier is sent there: an edge with its key refuses it.

    Args:
        public_url: The address.
        carriers: The carriers.
    """
    limits = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=limits) as client:
        requests = [
            _check_address(client, f"{public_url.rstrip('/')}/phone/{carrier.name}", carrier)
            for carrier in carriers
        ]
        return list(await asyncio.gather(*requests))


async def _check_address(client: aiohttp.ClientSession, url: str, carrier: Carrier) -> PhoneCheck:
    shown = redacted_url(url)
    try:
        async with client.post(url, allow_redirects=False) as answer:
            status, content = answer.status, await answer.content.read(_ANSWER_MAX_BYTES)
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        hint = (
            "Start the edge, and check that the name and the proxy lead to it. It may be reachable "
            "from the internet only."
        )
        return PhoneCheck("address", False, f"{shown}: {type(error).__name__}", hint)
    problem = read_problem(content)
    if problem is not None and problem.code == SignatureError.code:
        return PhoneCheck("address", True, f"{shown} leads to an edge with {carrier.title}'s key")
    if status == HTTPStatus.NOT_FOUND:
        hint = "Set the key and public_url at that edge. The proxy may remove the prefix of public_url only."
        return PhoneCheck("address", False, f"{shown} answers 404", hint)
    hint = "Something other than an edge answers there."
    return PhoneCheck("address", False, f"{shown} answers HTTP {status}", hint)
