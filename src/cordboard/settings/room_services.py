"""Daily and LiveKit: the settings, and the accounts that the environment names.

The names of the variables are those of Pipecat and of the services' own tools, so that the ``.env`` of an
existing bot works unchanged. Secrets may also come from a file (``NAME_FILE``).
"""

import os
from dataclasses import dataclass, field
from typing import Final

from cordboard.contract.livekit import LiveKitServer
from cordboard.settings.secrets import read_secret

DAILY_API_URL_DEFAULT: Final = "https://api.daily.co/v1"


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class RoomServiceSettings:
    """Which rooms of Daily and LiveKit get a bot."""

    livekit_dispatch: tuple[str, ...] = ()
    """Rooms of the LiveKit server that get a bot when a participant joins them: prefixes of room
    names, each as PREFIX or PREFIX=BOT, separated by commas in the environment. The LiveKit server
    sends its webhooks to /livekit/webhook of the edge."""


@dataclass(frozen=True, slots=True)
class DailyAccount:
    """An account at Daily.

    Attributes:
        api_key: The key of the REST API.
        api_url: The base URL of the REST API.
        webhook_secret: The secret that signs dial-in webhooks, in base64; None if unset.
    """

    api_key: str = field(repr=False)
    api_url: str = DAILY_API_URL_DEFAULT
    webhook_secret: str | None = field(default=None, repr=False)


def daily_account() -> DailyAccount | None:
    """Return the account of ``DAILY_API_KEY``; None if it is unset.

    Raises:
        SettingsError: A secret's file cannot be read.
    """
    api_key = read_secret("DAILY_API_KEY")
    if not api_key:
        return None
    api_url = os.environ.get("DAILY_API_URL") or DAILY_API_URL_DEFAULT
    return DailyAccount(api_key, api_url.rstrip("/"), read_secret("PINLESS_HMAC_SECRET"))


def livekit_server() -> LiveKitServer | None:
    """Return the server of ``LIVEKIT_URL``, ``LIVEKIT_API_KEY`` and ``LIVEKIT_API_SECRET``; None unless all are set.

    Raises:
        SettingsError: A secret's file cannot be read.
    """
    url = os.environ.get("LIVEKIT_URL")
    api_key, api_secret = read_secret("LIVEKIT_API_KEY"), read_secret("LIVEKIT_API_SECRET")
    if not (url and api_key and api_secret):
        return None
    return LiveKitServer(url, api_key, api_secret)
