"""The command ``cordboard interface``."""

import asyncio
import os
import re
import signal
import sys

import aiohttp
import pytest

from cordboard.up.ports import free_port


async def start(*arguments: str, **environment: str) -> asyncio.subprocess.Process:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("CORDBOARD_", "BOT_CONTROL"))}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cordboard", "interface", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**clean, "LOG_FORMAT": "json", **environment},
    )


async def test_interface_serves_until_sigterm() -> None:
    """It is healthy without a gateway, warns of the missing secret, and exits with 0."""
    port = free_port()
    process = await start("--port", str(port))
    assert process.stdout is not None
    said = ""
    while '"message":"Listening"' not in said:
        said += (await process.stdout.readline()).decode()
    assert re.search(r"CORDBOARD_SESSION_SECRET is not set", said)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
        for path in ("/healthz", "/readyz"):
            async with client.get(path) as answer:
                assert answer.status == 200
    for _ in range(3):  # as kubelets and supervisors do
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
            "CORDBOARD_INTERFACE_LOGIN",
        ),
    ],
)
async def test_public_interface_needs_secrets_and_a_login(
    given: dict[str, str], missing: str
) -> None:
    """Without them the exit status is 2, and the hint names the variable."""
    process = await start("--host", "0.0.0.0", "--port", "0", **given)
    _, err = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 2
    assert missing in err.decode()
