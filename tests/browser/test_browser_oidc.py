"""A person signs in with a real browser, behind Caddy with TLS and a path prefix, at a provider of another project."""

from pathlib import Path

import pytest
from oidc_provider_mock import User, run_server_in_thread

from browser.browser_support import chromium, spoken
from cordboard.environment import OIDC_SECRET, SESSION_SECRET
from cordboard.settings import Settings
from cordboard.up.ports import free_port
from interface.interface_support import open_site
from proxy_support import caddy_proxy
from tls_support import authority

ADA = User(sub="ada-1", claims={"name": "Ada Lovelace", "groups": ["voice-ops"]})


@pytest.mark.browser
async def test_person_signs_in_and_out_behind_caddy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cookies are those of https, the microphone is allowed, and no page leaves the prefix."""
    monkeypatch.setenv(
        "AUTHLIB_INSECURE_TRANSPORT", "1"
    )  # the provider is on loopback, without TLS
    monkeypatch.setenv(SESSION_SECRET, "signs-the-cookies")
    monkeypatch.setenv(OIDC_SECRET, "any")
    port = free_port()
    public = f"https://127.0.0.1:{port}"
    with run_server_in_thread(require_nonce=True, user_claims=[ADA]) as provider:
        settings = Settings(
            interface_login="oidc",
            interface_url=public,
            interface_operator_groups=("voice-ops",),
            root_path="/voice",
            oidc_issuer=f"http://localhost:{provider.server_port}",
            oidc_client_id="voice",
        )
        files = authority(tmp_path / "ca")
        async with (
            open_site(None, settings) as site,
            caddy_proxy(tmp_path, port, site.url, "/voice", files, strips=False),
            chromium(spoken(tmp_path, after_s=1)) as browser,
        ):
            context = await browser.new_context(ignore_https_errors=True)
            page = await context.new_page()
            await page.goto(f"{public}/voice/rooms/demo")
            await page.click("main >> text=Sign in >> nth=-1")
            await page.click("button[value='ada-1']")
            await page.wait_for_url(f"{public}/voice/rooms/demo")
            assert await page.inner_text(".who .name") == "Ada Lovelace"
            cookies = {cookie["name"]: cookie for cookie in await context.cookies()}
            assert set(cookies) == {"__Host-cordboard_login", "__Secure-cordboard_id_token"}
            assert all(cookie["secure"] and cookie["httpOnly"] for cookie in cookies.values())
            assert cookies["__Secure-cordboard_id_token"]["path"] == "/voice/logout"
            heard = "navigator.mediaDevices.getUserMedia({audio: true}).then(() => true)"
            assert await page.evaluate(heard)
            await page.click("text=Sign out")
            await page.wait_for_url(f"http://localhost:{provider.server_port}/**")
            assert "__Host-cordboard_login" not in {
                cookie["name"] for cookie in await context.cookies()
            }
