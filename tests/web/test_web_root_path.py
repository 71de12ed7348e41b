"""Path prefixes: which are valid, and which requests have them."""

import re
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from cordboard.contract.errors import SettingsError
from cordboard.contract.urls import ROOT_PATH
from cordboard.web.origin import public_address, public_origin
from cordboard.web.root_path import RootPathMiddleware, refuse_own_paths


@pytest.mark.parametrize("text", ["", "/voice", "/team/voice-2", "/~ada/a.b_c", "/...", "/.well"])
def test_prefix_is_valid(text: str) -> None:
    """It has a slash at its beginning and none at its end."""
    assert re.search(ROOT_PATH, text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "/",
            "voice",
            "/voice/",
            "//voice",
            "/a//b",
            "/../a",
            "/a/..",
            "/a/./b",
            "/a b",
            "/a%20b",
        ),
        *("https://a.example/voice", "/a?b", "/a#b", "/a;b", "/a\n", '/a"b', "/é", "\\voice"),
    ],
)
def test_invalid_prefix(text: str) -> None:
    """None of these begins the path of a request as it is written."""
    assert re.search(ROOT_PATH, text) is None


async def seen(root_path: str, path: str, raw_path: str | None = None) -> tuple[str, str]:
    """Return the path and the raw path that an application behind the middleware sees."""
    found: list[Scope] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        found.append(scope)

    scope: Any = {"type": "http", "path": path, "raw_path": (raw_path or path).encode()}
    await RootPathMiddleware(app, root_path)(scope, None, None)  # type: ignore[arg-type]
    return found[0]["path"], found[0]["raw_path"].decode()


@pytest.mark.parametrize(
    ("root_path", "path", "expected"),
    [
        ("/voice", "/voice/rooms/demo", "/rooms/demo"),
        ("/voice", "/rooms/demo", "/rooms/demo"),
        ("/voice", "/voice", "/"),
        ("/voice", "/voice/", "/"),
        ("/voice", "/voices/x", "/voices/x"),
        ("/voice", "/voice/voice/x", "/voice/x"),
        ("/a/b", "/a/b/x", "/x"),
        ("", "/voice/x", "/voice/x"),
    ],
)
async def test_prefix_is_removed_once_and_only_as_whole_segments(
    root_path: str, path: str, expected: str
) -> None:
    """A request from which the proxy has removed it stays as it is."""
    assert await seen(root_path, path) == (expected, expected)


async def test_raw_path_keeps_its_encoding() -> None:
    """Carriers sign the path as it was sent; an encoded prefix is not ours."""
    assert await seen("/voice", "/voice/a:b", "/voice/a%3Ab") == ("/a:b", "/a%3Ab")
    assert await seen("/voice", "/voice/a", "/v%6Fice/a") == ("/voice/a", "/v%6Fice/a")


def test_prefix_that_begins_like_a_route_is_refused() -> None:
    """A request for the route would look like one with the prefix."""
    for root_path in ("/api", "/api/voice"):
        with pytest.raises(SettingsError, match="root_path: the prefix"):
            refuse_own_paths(root_path, {"api"}, "root_path")
    refuse_own_paths("/apis/api", {"api"}, "root_path")
    refuse_own_paths("", {"api"}, "root_path")


def test_public_address_has_a_prefix() -> None:
    """A slash at the end of it means nothing."""
    for url, path in (("", ""), ("/", ""), ("/voice", "/voice"), ("/a/voice/", "/a/voice")):
        origin, found = public_address(f"https://a.example:8443{url}", "public_url")
        assert (str(origin), found) == ("https://a.example:8443", path)


def test_path_of_the_interface_belongs_in_its_own_setting() -> None:
    """The hint names it."""
    with pytest.raises(SettingsError) as refused:
        public_origin("https://a.example/voice")
    assert "root_path" in refused.value.hint
