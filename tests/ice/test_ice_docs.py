"""docs/turn.md: its configuration runs, its settings are valid, and its messages are those of the code."""

import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from cordboard.contract.errors import CordboardError
from cordboard.contract.ice import ice_config, parse_ice_servers
from cordboard.ice_client import check_server, targets_of
from cordboard.settings import load
from cordboard.up.ports import free_port
from docs_support import ROOT, codes, rows
from ice.ice_support import SECRET, Turn, turnserver

pytestmark = pytest.mark.asyncio(loop_scope="module")
PAGE = (ROOT / "docs" / "turn.md").read_text(encoding="utf-8")
BLOCKS = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL).findall(PAGE)
(CONFIGURATION,) = (code for language, code in BLOCKS if language == "ini")
NEW_SECRET = "the-next-secret-of-the-server"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ports(
    tmp_path_factory: pytest.TempPathFactory, certificate: Path
) -> AsyncIterator[tuple[int, int]]:
    """A coturn with the page's file, on free ports of loopback; its two ports, for clients and for TLS."""
    folder = tmp_path_factory.mktemp("docs")
    port, tls_port = free_port(), free_port()
    over = {
        "listening-port": str(port), "tls-listening-port": str(tls_port),
        "cert": str(certificate), "pkey": str(certificate), "static-auth-secret": SECRET,
    }  # fmt: skip
    lines = [replaced(line, over) for line in CONFIGURATION.splitlines()]
    lines += [f"static-auth-secret={NEW_SECRET}", "listening-ip=127.0.0.1", "relay-ip=127.0.0.1"]
    file = folder / "turnserver.conf"
    file.write_text("\n".join(lines))
    async with turnserver(folder, "-c", str(file)) as server:
        assert_no_complaint(server)
        yield port, tls_port


def replaced(line: str, over: dict[str, str]) -> str:
    name, equals, value = line.partition("=")
    return f"{name}{equals}{over.get(name, value)}"


def assert_no_complaint(server: Turn) -> None:
    assert "Bad configuration format" not in server.log.read_text()


@pytest.mark.parametrize(
    "form", ["turn:127.0.0.1:{}", "turn:127.0.0.1:{}?transport=tcp", "turns:127.0.0.1:{}"]
)
@pytest.mark.parametrize("secret", [SECRET, NEW_SECRET])
async def test_the_configuration_relays(
    ports: tuple[int, int],
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
    secret: str,
) -> None:
    """Over UDP, TCP and TLS, with each of two secrets, and at the public address."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    url = form.format(ports[form.startswith("turns")])
    config = ice_config(
        parse_ice_servers([url]), "call-7", expires_at=int(time.time()) + 60, secret=secret
    )
    assert (await check_server(targets_of(config)[0])).startswith("203.0.113.7:")


async def test_the_configuration_refuses_an_expired_user(ports: tuple[int, int]) -> None:
    """The message of the page for it is the code's."""
    config = ice_config(
        parse_ice_servers([f"turn:127.0.0.1:{ports[0]}"]),
        "call-7",
        expires_at=int(time.time()) - 60,
        secret=SECRET,
    )
    with pytest.raises(CordboardError, match=re.escape("rejected the credentials (401)")):
        await check_server(targets_of(config)[0])


async def test_each_line_of_the_configuration_has_a_row() -> None:
    """No line is unexplained, and no row explains a line that is not there."""
    written = {line.partition("=")[0] for line in CONFIGURATION.splitlines()}
    explained = {name for cells in rows(PAGE, "line") for name in codes(cells[0])}
    assert written == explained


@pytest.mark.parametrize("code", [code for language, code in BLOCKS if language == "toml"])
async def test_the_settings_of_the_page_are_valid(tmp_path: Path, code: str) -> None:
    """Each block is a cordboard.toml."""
    (tmp_path / "cordboard.toml").write_text(code)
    assert load(tmp_path / "cordboard.toml").ice_servers
