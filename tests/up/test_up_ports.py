"""The ports of `cordboard up` that nobody has chosen."""

import contextlib
import socket
from pathlib import Path

import pytest

from cordboard.up import ports

NAMES = ("gateway", "runner", "operator", "interface", "edge")


def test_free_port_is_given_to_no_connection() -> None:
    """The kernel takes those of connections from a range, and could take one before a component listens."""
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    chosen = ports.free_ports(dict.fromkeys(NAMES, 0))
    assert len({*chosen.values()}) == len(NAMES)
    assert not [port for port in chosen.values() if first <= port <= last]


@pytest.mark.parametrize("ranges", ["0 65535", "none", None])
def test_kernel_chooses_where_no_range_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ranges: str | None
) -> None:
    """All ports may be those of connections, and the range may be unknown."""
    file = tmp_path / "range"
    if ranges is not None:
        file.write_text(ranges)
    monkeypatch.setattr(ports, "_CONNECTIONS_PORTS", file)
    assert ports.free_ports({"edge": 0})["edge"] > 1024


def test_port_that_is_in_use_is_not_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor one that is bound for another component, whether it listens or not."""
    with contextlib.ExitStack() as stack:
        base = ports.free_ports({"edge": 0})["edge"]
        for port, listens in ((base, True), (base + 1, False)):
            other = stack.enter_context(socket.socket())
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", port))
            if listens:
                other.listen()
        (tmp_path / "range").write_text(f"{base + 3} 65535")
        monkeypatch.setattr(ports, "_CONNECTIONS_PORTS", tmp_path / "range")
        monkeypatch.setattr(ports, "_FREE_FROM", base)
        assert ports.free_ports({"edge": 0}) == {"edge": base + 2}
