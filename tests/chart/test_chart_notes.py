"""What helm tells the user after an installation."""

from chart.chart_support import ALL, REDIS, merged, notes

INTERFACE = {"interface": {"enabled": True}, "settings": {"interface_login": "name"}}
PREFIX = {"root_path": "/voice", "public_url": "https://example.org/phone"}


def test_notes_name_the_addresses() -> None:
    """Those at which people and carriers come in; without one, the command that opens the door."""
    told = notes(ALL)
    assert "the interface: https://voice.example.org\n" in told
    assert "the edge: https://phone.example.org\n" in told
    told = notes(ALL, {"settings": {**PREFIX, "interface_url": "https://example.org"}})
    assert "the interface: https://example.org/voice\n" in told
    assert "the edge: https://example.org/phone\n" in told
    told = notes(REDIS, INTERFACE)
    assert "kubectl -n bots port-forward service/cordboard-interface 3000:3000\n" in told


def test_notes_warn_of_what_does_not_work_yet() -> None:
    """Each warning names the value to set, and is gone when it is set."""
    lacking = merged(REDIS, INTERFACE, {"runner": {"enabled": False}, "edge": {"enabled": True}})
    told = notes(lacking)
    values = ("runner.enabled", "edge.host", "settings.public_keys", "settings.ice_servers")
    assert [value for value in values if value not in told] == []
    settings = {"public_keys": ["pk_0123456789abcdef"], "ice_servers": ["stun:stun.example.org"]}
    told = notes(ALL, {"settings": settings})
    assert [value for value in values if value in told] == []
    servers = {"secret": {"values": {"CORDBOARD_ICE_SERVERS": "stun:stun.example.org"}}}
    assert "settings.ice_servers" not in notes(REDIS, servers)


def test_notes_say_what_an_adapter_must_do() -> None:
    """An HPA adds up what the adapter serves; KEDA asks for the maximum itself."""
    assert "maximum" in notes(REDIS, {"runner": {"autoscaling": {"kind": "hpa"}}})
    assert "maximum" not in notes(REDIS)


def test_notes_say_who_keeps_the_secret() -> None:
    """A Secret that the chart has created outlives the release, and must not meet GitOps."""
    assert "GitOps" in notes(REDIS)
    told = notes({"secret": {"name": "mine"}})
    assert "GitOps" not in told
    assert "get secret mine " in told
