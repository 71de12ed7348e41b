"""A component that misbehaves: what is logged, and what happens to it."""

import asyncio
import os
import stat
import sys
from pathlib import Path

import pytest

from cordboard import emit
from cordboard.up.component import Component
from plane_support import gone_within
from tests_support import until


def component_of(
    monkeypatch: pytest.MonkeyPatch, folder: Path, script: str, line_max_bytes: int = 1000
) -> tuple[Component, list[bytes]]:
    """Return a component whose process is a script, and the lines that it prints."""
    file = folder / "component"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(file))
    lines: list[bytes] = []
    component = Component(
        "gateway", (), 1, os.environ, lambda _, line: lines.append(line), line_max_bytes
    )
    return component, lines


def nice_of(component: Component) -> int:
    """Return the nice value of a component's session."""
    assert component.process is not None
    return int(Path(f"/proc/{component.process.pid}/autogroup").read_text().split()[-1])


async def test_component_that_ignores_sigterm_is_killed_with_its_group(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """After its grace period, and with a warning."""
    component, lines = component_of(
        monkeypatch, tmp_path, "trap '' TERM; sleep 600 & echo $!; wait; sleep 600"
    )
    with emit.capture() as records:
        await component.start()
        await until(lambda: lines)
        await component.stop(0.1)
    assert not component.is_running
    assert gone_within(int(lines[0]), 5)
    assert [(r["level"], r["message"], r["meta"]["component"]) for r in records] == [
        ("warn", "A component did not stop in time and was killed", "gateway")
    ]


async def test_line_over_the_limit_is_dropped_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A warning reports it, and the lines after it are read."""
    script = "printf '%05000d\\n' 1; echo after"
    component, lines = component_of(monkeypatch, tmp_path, script, line_max_bytes=1000)
    with emit.capture() as records:
        await component.start()
        assert await component.wait() == 0
    assert lines[-1] == b"after"
    assert {r["message"] for r in records} == {"A line was too long and was dropped"}


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="needs autogroups, of Linux")
async def test_component_in_the_background_comes_last_until_it_is_ready(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its priority is low from its start until it answers, and then that of all others."""
    component, _ = component_of(monkeypatch, tmp_path, "exec sleep 600")

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        writer.close()

    await component.start(in_background=True)
    await until(lambda: nice_of(component) > 0)
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        component.port = server.sockets[0].getsockname()[1]
        assert await component.becomes_ready()
        await until(lambda: nice_of(component) == 0)
    await component.stop(5)
    assert not await component.becomes_ready()


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="needs autogroups, of Linux")
async def test_component_comes_forward_before_it_is_ready(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Then it waits for no other process, although it does not answer."""
    component, _ = component_of(monkeypatch, tmp_path, "exec sleep 600")
    await component.start(in_background=True)
    await until(lambda: nice_of(component) > 0)
    assert component.is_in_background
    component.come_forward()
    await until(lambda: nice_of(component) == 0)
    assert not component.is_in_background
    await component.stop(5)


async def test_component_without_a_process_cannot_be_awaited() -> None:
    """Waiting for one that was never started is an error of the program."""
    component = Component("gateway", (), 1, {}, lambda *_: None)
    assert not component.is_running
    with pytest.raises(RuntimeError):
        await component.wait()
