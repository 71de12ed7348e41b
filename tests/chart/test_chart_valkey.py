"""The bundled Valkey, as the chart starts it."""

import base64
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis.asyncio
from redis.exceptions import AuthenticationError, RedisError

from chart.chart_support import named, of_kind, render
from cordboard.up.embedded import find_server
from cordboard.up.ports import free_port
from tests_support import until

BUNDLED = {"redis": {"bundled": {"enabled": True}}}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[int, str]]:
    """A server with the command of the chart; its port and its password. The password is on no command line."""
    found = render(BUNDLED)
    (container,) = named(found, "StatefulSet", "cordboard-valkey")["spec"]["template"]["spec"]["containers"]  # fmt: skip
    (secret,) = of_kind(found, "Secret")
    password = base64.b64decode(secret["data"]["VALKEY_PASSWORD"]).decode()
    port = free_port()
    words = [*container["command"], *container["args"]]
    words[words.index("6379")] = str(port)
    words[words.index("/tmp")] = str(tmp_path)
    (tmp_path / "valkey-server").symlink_to(find_server())
    variables = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "VALKEY_PASSWORD": password}
    process = subprocess.Popen(words, env=variables, stdout=subprocess.DEVNULL)
    yield port, password
    command = Path(f"/proc/{process.pid}/cmdline").read_bytes()
    process.kill()
    process.wait()
    assert b"valkey-server" in command
    assert password.encode() not in command


async def test_bundled_valkey_needs_its_password(server: tuple[int, str]) -> None:
    """The URL in the Secret opens it, and nobody else gets in."""
    port, password = server
    async with redis.asyncio.Redis(port=port, password=password) as known:

        async def answers() -> bool:
            try:
                return bool(await known.ping())
            except RedisError:
                return False

        await until(answers)
        policy = await known.config_get("maxmemory*")
        assert policy["maxmemory-policy"] == "noeviction"
        assert policy["maxmemory"] == str(192 << 20)
    async with redis.asyncio.Redis(port=port) as unknown:
        with pytest.raises(AuthenticationError):
            await unknown.ping()


@pytest.mark.parametrize(
    "own", [{}, {"VALKEY_PASSWORD": "hunter2-hunter2-hunter2"}], ids=["made", "own"]
)
def test_url_of_the_bundled_valkey_is_in_the_secret(own: dict[str, str]) -> None:
    """Components find it by the URL in their Secret, which names its Service and has its password."""
    found = render(BUNDLED, {"secret": {"values": own}})
    (secret,) = of_kind(found, "Secret")
    data = {name: base64.b64decode(text).decode() for name, text in secret["data"].items()}
    assert own.items() <= data.items()
    assert data["REDIS_URL"] == f"redis://:{data['VALKEY_PASSWORD']}@cordboard-valkey:6379/0"
    assert named(found, "Service", "cordboard-valkey")["spec"]["ports"][0]["port"] == 6379
