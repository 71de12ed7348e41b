"""``cordboard interface`` as it is started."""

import asyncio
import os
import re
import signal
import sys

import aiohttp
import pytest


async def start(*arguments: str, **environment: str) -> asyncio.subprocess.Process:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("CORDBOARD_", "BOT_CONTROL"))}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cordboard", "interface", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**clean, "LOG_FORMAT": "json", **environment},
    )


async def test_it_serves_until_it_is_told_to_stop(unused_tcp_port: int) -> None:
    """Health answers without a gateway; the missing secret is said; SIGTERM ends it with 0."""
    process = await start("--port", str(unused_tcp_port))
    assert process.stdout is not None
    said = ""
    while '"message":"Listening"' not in said:
        said += (await process.stdout.readline()).decode()
    assert re.search(r"CORDBOARD_SESSION_SECRET is not set", said)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{unused_tcp_port}") as client:
        for path in ("/healthz", "/readyz"):
            async with client.get(path) as answer:
                assert answer.status == 200
    process.send_signal(signal.SIGTERM)
    await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, "BOT_CONTROL_SHARED_SECRET"),
        ({"BOT_CONTROL_SHARED_SECRET": "x" * 16}, "CORDBOARD_SESSION_SECRET"),
        (
            {"BOT_CONTROL_SHARED_SECRET": "x" * 16, "CORDBOARD_SESSION_SECRET": "x" * 16},
            "CORDBOARD_INTERFACE_LOGIN=name",
        ),
    ],
)
async def test_for_others_it_needs_secrets_and_a_login(given: dict[str, str], missing: str) -> None:
    """Beyond loopback: refused with exit status 2, naming the variable, before it listens."""
    process = await start("--host", "0.0.0.0", "--port", "0", **given)
    _, err = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 2
    assert f"Set {missing}" in err.decode()
