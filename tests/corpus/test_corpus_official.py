"""Official example bots hold calls, unchanged: those without a service, and those whose services have doubles.

On demand, as test_corpus_load.py: ``CORDBOARD_EXAMPLES`` names the folders, and ``CORDBOARD_EXAMPLES_CALLS`` a
regular expression for the paths of the bots, such as ``voice/voice-openai|video-processing-mirror``.
"""

import ast
import os
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from corpus import callers
from corpus.corpus_support import Examples, official_examples
from corpus.service_doubles import Doubles
from tests_support import served_with_websockets
from up_support import ready

DOUBLED = {"openai", "deepgram", "cartesia"}
REALTIME = "RealtimeLLMService("
WAYS: tuple[str, ...] = ("webrtc", "twilio", "websocket", "eval")


def services_of(file: Path) -> set[str]:
    """Return the services that a bot file imports from Pipecat."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names = {module.split(".")[2] for module in modules if module.startswith("pipecat.services.")}
    return {name for name in names if not name.endswith("_service")}  # classes that they share


def ways_of(file: Path) -> list[str]:
    """Return the keys of its ``transport_params`` that a caller here can use.

    A scenario of the eval harness needs a bot whose model speaks first, not a fixed text, and that answers what the
    caller types: Pipecat does not pass that on to a speech-to-speech model. Pipecat calls ``on_client_connected`` over
    a WebSocket from the input transport alone: a bot without one never learns that a phone or a client has connected.
    """
    text = file.read_text(encoding="utf-8")
    has_fixed_greeting = "TTSSpeakFrame(" in text and "LLMRunFrame(" not in text
    ways = WAYS if services_of(file) and speaks(file) else WAYS[:-1]
    ways = WAYS[:-1] if REALTIME in text or has_fixed_greeting else ways
    ways = ways if ".input()" in text else ("webrtc",)
    return [way for way in ways if f'"{way}": lambda' in text]


def speaks(file: Path) -> bool:
    """Return whether a bot has a voice; one without services sends back what it receives."""
    text = file.read_text(encoding="utf-8")
    return not services_of(file) or "TTSService(" in text or REALTIME in text


def callable_bots(examples: Examples) -> Iterator[Path]:
    """Yield the bots that the environment names and whose services all have doubles."""
    pattern = os.environ.get("CORDBOARD_EXAMPLES_CALLS")
    if not pattern:
        pytest.skip("no calls of examples: CORDBOARD_EXAMPLES_CALLS is not set")
    for file in examples.bots():
        if re.search(pattern, str(file)) and services_of(file) <= DOUBLED and ways_of(file):
            yield file


async def call(way: str, edge: str, folder: Path, *, greetings: int) -> str:
    """Call a bot one way; return what came of it. A bot without services greets nobody, and echoes."""
    if way == "eval":
        status, output = await callers.run_eval(callers.write_scenario(folder), edge)
        return "answered" if status == 0 else f"failed: {output[-400:]}"
    if way == "twilio":
        answer = await callers.start(edge, {"transport": "twilio"})
        report = await callers.call_by_phone(answer["wsUrl"])
        if report.violations or not report.spoke:
            return f"failed: silent, or violations {report.violations}"
        return "answered" if report.metrics.clears_received else "greeted"
    if way == "websocket":
        answer = await callers.start(edge, {"transport": "websocket"})
        heard = await callers.call_by_websocket(answer["wsUrl"])
    else:
        heard = await callers.call_by_webrtc(edge, greetings=greetings)
    return "answered" if heard.utterances > greetings else "greeted"


async def outcome(attempt: Awaitable[str]) -> str:
    """Return what an attempt returns, or how it failed."""
    try:
        return await attempt
    except (AssertionError, OSError, TimeoutError, aiohttp.ClientError) as error:
        return f"failed: {error!r:.300}"


async def calls_of(file: Path, python: str, folder: Path) -> AsyncIterator[tuple[str, str]]:
    """Yield each way to call a bot, and what came of it; a bot that does not load has no other result."""
    doubles = Doubles()
    async with served_with_websockets(doubles.app()) as services, AsyncExitStack() as stack:
        start = ready(
            folder,
            *("--bot", str(file)),
            blind=False,
            python=python,
            **Doubles.environment(services),
        )
        try:
            up = await stack.enter_async_context(start)
        except AssertionError as error:
            yield "load", f"failed: {str(error)[-300:]}"
            return
        greetings = int(bool(services_of(file)) and speaks(file))
        for way in ways_of(file):
            before = doubles.utterances
            attempt = call(way, up.addresses["edge"], folder, greetings=greetings)
            result = await outcome(attempt)
            if not speaks(file):
                result = "listened" if doubles.utterances > before else f"failed: deaf, {result}"
            if doubles.faults:
                result = f"failed: {result}, but refused"
            yield way, f"{result} {doubles.faults or ''}".strip()


async def test_official_examples_hold_calls(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each bot greets by each way that it has; the report lists those that do not."""
    examples = official_examples()
    results: dict[str, str] = {}
    for number, file in enumerate(callable_bots(examples)):
        state = tmp_path / str(number)
        state.mkdir()
        async for way, result in calls_of(file, examples.python, state):
            results[f"{file.parent.name}/{file.name} {way}"] = result
            with capsys.disabled():
                sys.stdout.write(f"\n{file.parent.name}/{file.name} {way}: {result}")
                sys.stdout.flush()
    lines = [f"| {name} | {result} |" for name, result in sorted(results.items())]
    report = examples.report.with_stem(f"{examples.report.stem}-calls")
    report.write_text("\n".join(["| call | result |", "|---|---|", *lines]) + "\n")
    assert [name for name, result in results.items() if result.startswith("failed")] == []
