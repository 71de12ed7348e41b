"""Why a session ended, and how its end reaches a store that refuses it."""

from typing import Any

import pytest

from cordboard import emit
from cordboard.contract.errors import StoreUnavailableError
from cordboard.contract.launch import Launch
from cordboard.runner.control_channel import EndReport
from cordboard.runner.session_context import SessionContext
from cordboard.runner.session_end import FORK_SERVER_ENDED, EndWriter, SessionEnd, session_end
from cordboard.store import RedisStore

FINISHED = EndReport("bot_finished", None, is_early=False)
CRASHED = EndReport("bot_crashed", "ValueError: x", is_early=False)
LEFT = EndReport("draining", None, is_early=False)
EARLY = EndReport("bot_crashed", "no memory", is_early=True)


@pytest.mark.parametrize(
    ("evidence", "end"),
    [
        ({"stop_reason": "left", "report": CRASHED, "exit_status": -9}, SessionEnd("left")),
        (
            {"stop_reason": "bot_crashed", "exit_status": -9},
            SessionEnd("bot_crashed", is_crash_unreported=True),
        ),
        ({"is_self_killed": True, "report": FINISHED}, SessionEnd("lease_lost")),
        ({"report": FINISHED, "exit_status": 1}, SessionEnd("bot_finished")),
        ({"report": CRASHED, "exit_status": 1}, SessionEnd("bot_crashed", "ValueError: x")),
        (
            {"report": EARLY, "exit_status": 1},
            SessionEnd("bot_crashed", "no memory", is_crash_unreported=True),
        ),
        (
            {"exit_status": None},
            SessionEnd(
                "runner_lost", FORK_SERVER_ENDED, hand_over="bot_died", is_crash_unreported=True
            ),
        ),
        (
            {"exit_status": None, "may_restart": False},
            SessionEnd(
                "runner_lost", FORK_SERVER_ENDED, hand_over="bot_died", is_crash_unreported=True
            ),
        ),
        (
            {"exit_status": None, "has_run": False},
            SessionEnd("runner_lost", FORK_SERVER_ENDED, is_unknown=True, is_crash_unreported=True),
        ),
        ({"exit_status": 0}, SessionEnd("bot_finished")),
        (
            {"exit_status": -11},
            SessionEnd(
                "bot_crashed", "killed by SIGSEGV", hand_over="bot_died", is_crash_unreported=True
            ),
        ),
        (
            {"exit_status": -9, "may_restart": False},
            SessionEnd("bot_crashed", "killed by SIGKILL", is_crash_unreported=True),
        ),
        (
            {"exit_status": -9, "has_run": False},
            SessionEnd("bot_crashed", "killed by SIGKILL", is_crash_unreported=True),
        ),
        (
            {"exit_status": 3},
            SessionEnd("bot_crashed", "exit status 3", is_crash_unreported=True),
        ),
        ({"stop_reason": "draining"}, SessionEnd("runner_lost", hand_over="draining")),
        (
            {"stop_reason": "draining", "report": LEFT},
            SessionEnd("runner_lost", hand_over="draining"),
        ),
        (
            {"stop_reason": "draining", "report": EARLY},
            SessionEnd("runner_lost", hand_over="draining"),
        ),
        ({"stop_reason": "draining", "report": FINISHED}, SessionEnd("bot_finished")),
        (
            {"stop_reason": "draining", "report": CRASHED},
            SessionEnd("bot_crashed", "ValueError: x"),
        ),
    ],
)
def test_first_evidence_that_applies_decides(evidence: dict[str, Any], end: SessionEnd) -> None:
    """A stop counts before a self-kill, that before a report, and a report before the exit status."""
    absent: dict[str, Any] = {"stop_reason": None, "is_self_killed": False, "report": None}
    assert session_end(**({"exit_status": 0} | absent | evidence)) == end


async def test_end_is_written_once_the_store_accepts_it(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runner retries by itself, with one token, and does not need an operator to ask."""
    tokens: list[str] = []
    finish = store.finish

    async def refusing(*arguments: Any, **options: Any) -> bool:
        tokens.append(options["token"])
        if len(tokens) < 3:
            raise StoreUnavailableError("NOREPLICAS")
        return await finish(*arguments, **options)

    monkeypatch.setattr(store, "finish", refusing)
    launch = Launch(session_id="call-1", room_url="webrtc:r", epoch=1)
    await store.accept(launch, queue_max=9)
    end, said = SessionEnd("bot_finished"), SessionContext(launch, store, "r1", cipher=None)
    with emit.capture() as records:
        await EndWriter(store, launch, end, 0.0, "r1", said, retry_s=0.01).run()
    assert (len(tokens), len(set(tokens))) == (3, 1)
    (ended,) = [r for r in records if r.get("event") == "session.ended"]
    assert ended["meta"].keys() >= {"state", "reason", "seconds"}
    assert "detail" not in ended["meta"]
    record = await store.session("call-1")
    assert (record.state, record.reason) == ("ended", "bot_finished")
