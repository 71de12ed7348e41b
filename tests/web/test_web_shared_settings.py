"""What a part looks at before it serves."""

from collections.abc import Iterator

import pytest

from cordboard.emit.setup import flush
from cordboard.settings import Settings
from cordboard.web import shared_settings
from server_support import Server, name_of, programs, serving


@pytest.fixture(scope="module", params=programs(), ids=name_of)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with serving(request.param) as running:
        yield running


@pytest.mark.parametrize(("policy", "warns"), [("allkeys-lru", True), ("noeviction", False)])
def test_an_evicting_policy_is_warned_of(
    server: Server, capfd: pytest.CaptureFixture[str], policy: str, warns: bool
) -> None:
    """A gateway and an operator say so when they start."""
    server.ask("CONFIG", "SET", "maxmemory", "200mb")
    server.ask("CONFIG", "SET", "maxmemory-policy", policy)
    for part in ("gateway", "operator"):
        shared_settings.compare_before_serving(Settings(redis_url=server.url), part)
        flush()
        said = capfd.readouterr()
        assert ("Redis evicts keys" in said.out + said.err) is warns
        assert (policy in said.out + said.err) is warns


def test_a_redis_that_is_away_is_waited_for(server: Server) -> None:
    """It is compared once it is back: nothing is raised."""
    shared_settings.compare_before_serving(Settings(redis_url="redis://127.0.0.1:1/0"), "gateway")
    shared_settings.compare_before_serving(Settings(redis_url=server.url), "gateway")
