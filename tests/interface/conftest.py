"""Fixtures of the interface's tests."""

from collections.abc import AsyncIterator

import pytest

from cordboard.environment import OIDC_SECRET, SESSION_SECRET
from interface.interface_support import site
from interface.oidc_support import CLIENT_SECRET, StrictProvider, open_provider

__all__ = ["site"]


@pytest.fixture
async def provider(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StrictProvider]:
    """A strict identity provider, and an interface's secrets for it."""
    monkeypatch.setenv(SESSION_SECRET, "signs-the-cookies")
    monkeypatch.setenv(OIDC_SECRET, CLIENT_SECRET)
    async with open_provider() as opened:
        yield opened
