"""A person at a browser: real Chromium, a file as its microphone, and the room page in it.

async with ready(tmp_path) as up, chromium(spoken(tmp_path)) as browser:
    room = await enter(browser, up.addresses["interface"])
    await room.call()
    ...
    await room.leave()
"""

import asyncio
import contextlib
import os
import shutil
import wave
from array import array
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright
from playwright.async_api import Error as PlaywrightError

from tests_support import until

HELLO = Path(__file__).parents[2] / "examples" / "hello.wav"
CONTROL = "control-secret-of-the-browser-tests"
MICROPHONE_RATE = 48_000  # Chromium's fake microphone plays a file at this rate whatever it says
# Keeps every peer connection of a page where a test can ask it for its statistics.
KEEP_PEERS = """
const Original = RTCPeerConnection;
window.peers = [];
window.RTCPeerConnection = class extends Original {
  constructor(...words) { super(...words); window.peers.push(this); }
};
"""
HEARD = """async () => {
  for (const item of (await window.peers.at(-1)?.getStats() ?? new Map()).values())
    if (item.type === "inbound-rtp" && item.kind === "audio") return item.totalAudioEnergy ?? 0;
  return 0;
}"""


def find_chromium() -> str | None:
    """Return where Chromium is, None where there is none."""
    return shutil.which(os.environ.get("CHROMIUM") or "chromium")


def chromium_path() -> str:
    """Return where Chromium is; skip the test where there is none."""
    found = find_chromium()
    if not found:
        pytest.skip("no Chromium: set CHROMIUM, or install it (apt-get install chromium)")
    return found


def spoken(folder: Path, *, before_s: float = 6.0, after_s: float = 60.0) -> Path:
    """Return a microphone's sound: silence while the bot greets, a sentence, silence."""
    with wave.open(str(HELLO)) as file:
        samples = array("h", file.readframes(file.getnframes()))
        times = MICROPHONE_RATE // file.getframerate()
    sentence = array("h", (sample for sample in samples for _ in range(times)))
    silence = array("h", bytes(2 * MICROPHONE_RATE))
    target = folder / "microphone.wav"
    with wave.open(str(target), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(MICROPHONE_RATE)
        for part in (silence * int(before_s), sentence, silence * int(after_s)):
            sound.writeframes(part.tobytes())
    return target


@contextlib.asynccontextmanager
async def chromium(
    microphone: Path | None = None, *words: str, allowed: bool = True
) -> AsyncIterator[Browser]:
    """Run Chromium for a block.

    Args:
        microphone: What its microphone hears; None: there is no microphone.
        words: Further arguments.
        allowed: Whether its person allows the microphone, or is never there to answer.
    """
    arguments = ["--autoplay-policy=document-user-activation-required", *words]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")
    if allowed:
        arguments.append("--use-fake-ui-for-media-stream")
    if microphone:
        arguments += [
            "--use-fake-device-for-media-stream",
            f"--use-file-for-fake-audio-capture={microphone}%noloop",
        ]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium_path(), args=arguments, headless=True
        )
        try:
            yield browser
        finally:
            with contextlib.suppress(Exception):  # a test may have killed it
                await browser.close()


@dataclass
class Room:
    """The room page as a person sees it."""

    page: Page
    faults: list[str] = field(default_factory=list)

    @property
    def context(self) -> BrowserContext:
        """The browser's profile: whoever shares it shares the login."""
        return self.page.context

    def said(self, kind: str, text: str) -> None:
        """Keep what the browser's console counts as an error."""
        if kind == "error":
            self.faults.append(text)

    async def text(self, element: str) -> str:
        """What an element says."""
        return (await self.page.inner_text(f"#{element}")).strip()

    async def session_id(self) -> str:
        """The session id that is shown."""
        return await self.text("session-id")

    async def state(self) -> str:
        """The state of the call."""
        return str(await self.page.get_attribute("#room", "data-state"))

    async def stages(self) -> dict[str, int]:
        """The stages that were reached, with their milliseconds."""
        found: dict[str, int] = await self.page.evaluate(
            "() => Object.fromEntries([...document.querySelectorAll('#timeline li:not(.pending)')]"
            ".map((row) => [row.dataset.stage, parseInt(row.querySelector('.ms').textContent)]))"
        )
        return found

    async def alert(self) -> str:
        """Wait for an alert; return what it says."""
        await self.page.wait_for_selector("#alert:visible")
        return await self.text("alert")

    async def energy(self) -> float:
        """The energy of all that was heard from the bot so far; it only grows."""
        return float(await self.page.evaluate(HEARD))

    async def join(self) -> str:
        """Press Join; return the session id of the call."""
        await self.page.click("#join")
        return await self.session_id()

    async def call(self) -> str:
        """Press Join and wait until the bot is heard; return the session id."""
        session_id = await self.join()
        await self.first_audio()
        return session_id

    async def first_audio(self) -> None:
        """Wait until the bot is heard; say what the page says when it is not."""
        try:
            await self.page.wait_for_selector("#timeline [data-stage=first_audio]:not(.pending)")
        except PlaywrightError:
            seen = await self.page.inner_text("main")
            raise AssertionError(f"The bot was not heard. The page says:\n{seen}") from None

    async def hears_more(self) -> None:
        """Wait until the bot falls silent, and then until it is heard again."""
        before = await self.silence()

        async def grown() -> bool:
            return await self.energy() > before + 0.01

        await until(grown, 30)

    async def silence(self) -> float:
        """Wait until nothing more is heard; return the energy so far."""
        last, since = -1.0, 0
        while since < 4:
            now = await self.energy()
            last, since = now, since + 1 if now - last < 0.001 else 0
            await asyncio.sleep(0.2)
        return last

    async def leave(self) -> None:
        """Press Leave and wait until the call has ended."""
        await self.page.click("#leave")
        await self.ended()

    async def ended(self) -> None:
        """Wait until the call has ended."""
        await self.page.wait_for_selector("#join:visible")

    async def record(self, session_id: str) -> dict[str, Any]:
        """What the server tells this person about a session; its status is 404 if nothing."""
        found: dict[str, Any] = await self.page.evaluate(
            "async (id) => (await fetch(`/api/sessions/${id}`)).json()", session_id
        )
        return found

    async def ended_as(self, session_id: str) -> tuple[str, str | None]:
        """Wait until a session has reached its terminal state; return it with the reason."""

        async def terminal() -> dict[str, Any] | None:
            found = await self.record(session_id)
            return found if found["status"] not in {"queued", "starting", "running"} else None

        record = await until(terminal, 60)
        return record["status"], record.get("reason")


async def open_room(
    context: BrowserContext, url: str, name: str | None, *, script: str = ""
) -> Room:
    """Open the room page in a profile; sign in where a name is given; run a script before the page."""
    page = await context.new_page()
    if script:
        await page.add_init_script(script)
    room = Room(page)
    page.on("pageerror", lambda error: room.faults.append(str(error)))
    page.on("console", lambda line: room.said(line.type, line.text))
    await page.add_init_script(KEEP_PEERS)
    await page.goto(url)
    if name is not None:
        await page.fill("#name", name)
        await page.keyboard.press("Enter")
    await page.wait_for_selector("#join:enabled")
    return room


async def enter(browser: Browser, url: str, name: str = "Ada Łovelace") -> Room:
    """Sign in with a profile of one's own, and open the room page."""
    return await open_room(await browser.new_context(), url, name)
