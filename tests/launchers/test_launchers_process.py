"""Cold runners as processes of this machine: their output, and their end."""

import asyncio
import json
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from cordboard import emit
from cordboard.contract.launch import Launch
from cordboard.launchers import ColdRunnerEnd
from cordboard.launchers.process import ProcessLauncher
from tests_support import until

LAUNCH = Launch("call-7", "webrtc:a", epoch=3)


def launcher(
    monkeypatch: pytest.MonkeyPatch, folder: Path, script: str, **limits: Any
) -> ProcessLauncher:
    """A launcher whose runners are a script."""
    file = folder / "runner"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(file))
    return ProcessLauncher(dict, max_runners=1, **limits)


async def ended(launched: ProcessLauncher, name: str) -> bool:
    return await launched.status(name) == "ended"


async def test_runner_has_the_session_in_environment_and_lines(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Raw output becomes records of the session; a line that is too long is reported."""
    script = "echo for $BOT_SESSION_ID $BOT_SESSION_EPOCH; printf '%05000d\\n' 1; echo after"
    script += f"; until [ -e {tmp_path}/end ]; do sleep 0.01; done"
    launched = launcher(monkeypatch, tmp_path, script, line_max_bytes=1000)
    with emit.capture() as records:
        await launched.start("cold-1", LAUNCH)
        assert not await launched.reserve()
        (tmp_path / "end").touch()
        await until(lambda: ended(launched, "cold-1"))
        await until(lambda: records[-1]["message"] == "A cold runner has ended")
        await launched.close()
    assert await launched.next_end() == ColdRunnerEnd("call-7", 3)
    assert await launched.reserve()
    printed = {r["message"]: r["sessionId"] for r in records if r.get("raw")}
    assert printed["for call-7 3"] == printed["after"] == "call-7"
    assert "A line of a cold runner was too long and was dropped" in {r["message"] for r in records}
    assert records[-1]["meta"] == {"job": "cold-1", "status": 0}


async def test_runner_that_ignores_sigterm_is_killed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """SIGTERM first, and after the grace period SIGKILL to all that the runner has started."""
    script = "trap '' TERM; echo ready; sleep 600; sleep 600"
    launched = launcher(monkeypatch, tmp_path, script, stop_grace_s=0.1)
    with emit.capture() as records:
        await launched.start("cold-2", LAUNCH)
        await until(lambda: "ready" in json.dumps(records))
        await asyncio.wait_for(launched.stop("cold-2"), 5)
        assert await launched.status("cold-2") == "ended"
        await launched.close()
    assert await launched.status("cold-9") == "unknown"
