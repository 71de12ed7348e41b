"""Many people sign in at once at a slow identity provider: one request for all, and nobody waits without need."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.responses import PlainTextResponse

from cordboard.interface.oidc import provider as provider_module
from cordboard.interface.oidc.errors import ProviderUnavailableError
from cordboard.interface.oidc.login import OidcLogin
from cordboard.interface.oidc.provider import Provider
from interface.interface_support import Site
from interface.oidc_support import SignIn, StrictProvider, open_oidc_site

WELL_KNOWN = "/.well-known/openid-configuration"
PEOPLE = 30


@pytest.fixture
async def site(provider: StrictProvider) -> AsyncIterator[Site]:
    async with open_oidc_site(provider, interface_logins_per_minute=1000) as opened:
        yield opened


def oidc_of(site: Site) -> tuple[OidcLogin, Provider]:
    oidc: OidcLogin = site.app.state.oidc
    return oidc, oidc._provider


async def test_many_sign_ins_need_one_request_for_the_metadata(
    site: Site, provider: StrictProvider
) -> None:
    """All get its answer; a later sign-in needs no other one."""
    _, known = oidc_of(site)
    found = await asyncio.gather(*(known.metadata() for _ in range(PEOPLE)))
    assert {item.issuer for item in found} == {provider.url}
    await known.metadata()
    assert provider.requests == [WELL_KNOWN]


async def test_many_sign_ins_get_the_error_of_one_request(
    site: Site, provider: StrictProvider
) -> None:
    """Not one after the other: the last one would wait for minutes. The next sign-in asks again."""
    _, known = oidc_of(site)
    provider.answers[WELL_KNOWN] = PlainTextResponse("busy", 503)
    found = await asyncio.gather(*(known.metadata() for _ in range(PEOPLE)), return_exceptions=True)
    assert {type(item) for item in found} == {ProviderUnavailableError}
    assert provider.requests == [WELL_KNOWN]
    del provider.answers[WELL_KNOWN]
    assert (await SignIn(site.browser()).all())[0] == 303


async def test_many_callbacks_need_one_request_for_the_keys(
    site: Site, provider: StrictProvider
) -> None:
    """Whether they know no key, or one that the provider does not use any more."""
    _, known = oidc_of(site)
    await asyncio.gather(*(known.keys(renewed=number % 2 > 0) for number in range(PEOPLE)))
    assert provider.requests == [WELL_KNOWN, "/jwks"]


async def test_many_browsers_sign_in_at_once(site: Site, provider: StrictProvider) -> None:
    """From the first page to the last."""
    answers = await asyncio.gather(*(SignIn(site.browser()).all() for _ in range(PEOPLE)))
    assert [status for status, _, _ in answers] == [303] * PEOPLE


async def test_nobody_waits_for_a_request_without_need(
    site: Site, provider: StrictProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a sign-out, nor a sign-in whose answer is known, while the provider is slow."""
    oidc, known = oidc_of(site)
    await known.keys()
    provider.pause_s = {"/jwks": 60.0, WELL_KNOWN: 60.0}
    monkeypatch.setattr(provider_module, "KEYS_PAUSE_S", 0)
    slow: asyncio.Task[Any] = asyncio.create_task(known.keys(renewed=True))
    await asyncio.sleep(0)
    assert await known.keys()
    assert await known.metadata()
    monkeypatch.setattr(provider_module, "METADATA_FRESH_S", 0)
    assert await oidc.sign_out_url(None, site.url)
    assert not slow.done()
    assert provider.requests.count(WELL_KNOWN) == 1
    slow.cancel()


async def test_person_who_gives_up_takes_the_answer_from_nobody(
    site: Site, provider: StrictProvider
) -> None:
    """The request goes on for the others."""
    _, known = oidc_of(site)
    first, second = (asyncio.create_task(known.metadata()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).issuer == provider.url
    assert provider.requests == [WELL_KNOWN]
