"""What the commands that ask a gateway share: where it is, asking it, tables."""

import json
import sys
import unicodedata
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

from cordboard.contract.errors import (
    TO_BE_LET_IN,
    CordboardError,
    UnauthorizedError,
)
from cordboard.contract.terminal import harmless_json, one_line
from cordboard.contract.urls import checked_http_url, redacted_url
from cordboard.settings import load, running_up

TIMEOUT_S: Final = 10.0
NAME_MAX: Final = 32


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway that can be asked."""

    url: str
    secret: str | None

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """Return what the gateway answers, decoded.

        Raises:
            CordboardError: It cannot be reached, or refuses; in its own words.
        """
        words = {name: value for name, value in (query or {}).items() if value is not None}
        url = f"{self.url}{path}" + (f"?{urllib.parse.urlencode(words)}" if words else "")
        request = urllib.request.Request(url)  # noqa: S310 - http or https, checked in gateway()
        if self.secret:
            request.add_header("Authorization", f"Bearer {self.secret}")
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise _refused(error) from error
        except ValueError as error:
            raise CordboardError(
                f"What answers at {redacted_url(self.url)} is no gateway.",
                hint="Name another with --gateway URL.",
            ) from error
        except OSError as error:
            why = getattr(error, "reason", error)
            raise CordboardError(
                f"The gateway at {redacted_url(self.url)} cannot be reached: "
                f"{getattr(why, 'strerror', why)}.",
                hint="Start one with `cordboard up`, or name another with --gateway URL.",
            ) from error


def gateway(url: str | None, config: str | None) -> Gateway:
    """Return the gateway that the user means: as named, else of a running `up`, else as set.

    Raises:
        UsageError: The URL is none of http or https.
    """
    settings = load(config)
    running = running_up()
    secret = settings.control_secrets[0] if settings.control_secrets else None
    if url is None and running is not None:
        return Gateway(running.gateway_url, secret or running.secrets()["control_secret"])
    if running is not None and url == running.gateway_url:
        secret = secret or running.secrets()["control_secret"]
    name = "--gateway" if url else "CORDBOARD_GATEWAY_URL"
    return Gateway(checked_http_url(name, url or settings.gateway_url), secret)


def write(text: str) -> None:
    """Print text."""
    sys.stdout.write(text + "\n")


def as_json(value: object) -> str:
    """Return a value as one line of JSON."""
    return harmless_json(json.dumps(value, ensure_ascii=False))


def quoted(text: str) -> str:
    """Return a text as one segment of a path."""
    return urllib.parse.quote(text, safe="")


def moment(text: str) -> datetime:
    """Return the time that an RFC 3339 text names."""
    return datetime.fromisoformat(text)


def local_time(text: str) -> str:
    """Return a time as a person here would write it."""
    return moment(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as aligned columns; what could steer a terminal is made visible."""
    safe = [[harmless(cell) for cell in row] for row in rows]
    widths = [max(_width(row[i]) for row in safe) for i in range(len(safe[0]))]
    return "\n".join(
        "  ".join(
            cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in safe
    )


def shortened(text: str) -> str:
    """Return a name for a column: one of a thousand letters would push all others off the screen."""
    return text if len(text) <= NAME_MAX else text[: NAME_MAX - 1] + "…"


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(unicodedata.combining(letter) > 0 for letter in text)


def harmless(text: str) -> str:
    """Return ``text`` on one line, with escape sequences and other controls made visible."""
    return one_line(text)


def _refused(error: urllib.error.HTTPError) -> CordboardError:
    try:
        problem = json.loads(error.read())
        if problem["type"] == "about:blank":  # of whatever it is, and not of a gateway's calls
            return CordboardError(
                f"What answers at {redacted_url(error.url)} says {problem['detail']}.",
                hint="Is it a gateway? Name another by --gateway.",
            )
        if error.code == HTTPStatus.UNAUTHORIZED:
            return UnauthorizedError(str(problem["detail"]), hint=TO_BE_LET_IN)
        return CordboardError(str(problem["detail"]), hint=str(problem.get("hint", "")))
    except (ValueError, KeyError, TypeError):
        return CordboardError(f"The gateway answered HTTP {error.code}.")
