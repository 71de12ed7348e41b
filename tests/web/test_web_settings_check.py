"""The checks that a component makes before it serves."""

from collections.abc import Iterator

import pytest

from cordboard.emit.setup import flush
from cordboard.settings import Settings
from cordboard.web import settings_check
from server_support import Server, name_of, programs, serving


@pytest.fixture(scope="module", params=programs(), ids=name_of)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with serving(request.param) as running:
        yield running


@pytest.mark.parametrize(("policy", "warns"), [("allkeys-lru", True), ("noeviction", False)])
def test_evicting_policy_of_redis_is_a_warning(
    server: Server, capfd: pytest.CaptureFixture[str], policy: str, warns: bool
) -> None:
    """A gateway and an operator log it when they start."""
    server.ask("CONFIG", "SET", "maxmemory", "200mb")
    server.ask("CONFIG", "SET", "maxmemory-policy", policy)
    for component in ("gateway", "operator"):
        settings_check.compare_before_serving(Settings(redis_url=server.url), component)
        flush()
        said = capfd.readouterr()
        assert ("Redis evicts keys" in said.out + said.err) is warns
        assert (policy in said.out + said.err) is warns


def test_unreachable_redis_does_not_prevent_the_start(server: Server) -> None:
    """The settings are compared later, when Redis is back."""
    settings_check.compare_before_serving(Settings(redis_url="redis://127.0.0.1:1/0"), "gateway")
    settings_check.compare_before_serving(Settings(redis_url=server.url), "gateway")
