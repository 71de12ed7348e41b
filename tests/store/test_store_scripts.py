"""The store's scripts, each against a real server."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from cordboard.contract.errors import (
    ConflictError,
    NotFoundError,
    NotHolderError,
    QueueFullError,
    SessionInUseError,
    StaleEpochError,
    StoreUnavailableError,
)
from cordboard.contract.launch import Launch, encode
from cordboard.contract.state import REASONS, TERMINAL
from cordboard.store import (
    HandOverCause,
    Holder,
    RecoveringHolder,
    RecoveryCause,
    RedisStore,
    Registration,
    Renewal,
    SessionFilter,
    Suspicion,
    open_store,
)
from cordboard.store.rooms import accept_arguments

RUNNER = Registration("r1", "http://127.0.0.1:7861", capacity=2)
HOLDER = Holder("r1", "http://127.0.0.1:7861", "warm", pid=42)


def launch(session_id: str = "call-7", room: str = "webrtc:demo", **over: Any) -> Launch:
    return Launch(session_id, room, epoch=1, **over)


async def accept(
    store: RedisStore, session_id: str = "call-7", room: str = "webrtc:demo", **over: Any
) -> Any:
    return await store.accept(launch(session_id, room, **over), queue_max=100)


async def run(store: RedisStore, session_id: str = "call-7", room: str = "webrtc:demo") -> int:
    """Bring a session to running; return its epoch."""
    accepted = await accept(store, session_id, room)
    await store.register(RUNNER)
    await store.placement.assign(session_id, accepted.epoch)
    await store.confirm_running(session_id, accepted.epoch, HOLDER)
    return int(accepted.epoch)


async def expire_lease(store: RedisStore, session_id: str = "call-7") -> None:
    """Move the end of the lease into the past."""
    await store.connection.client.zadd(store.keys.leases, {session_id: 1})


async def raw(store: RedisStore, key: str) -> Any:
    text = await store.connection.client.get(key)
    return json.loads(text) if text else None


class TestAccept:
    async def test_first_join_gets_a_new_session_and_the_room(self, store: RedisStore) -> None:
        """A first join gets a new session, which holds the room."""
        accepted = await accept(store, user_id="u-1", user_name="Ada")
        assert (accepted.status, accepted.reused, accepted.epoch) == ("queued", False, 1)
        active = await raw(store, store.keys.room_active("webrtc:demo"))
        assert active["session_id"] == "call-7"
        assert (active["status"], active["epoch"], active["user_name"]) == ("queued", 1, "Ada")

    async def test_same_session_id_twice_is_the_same_session(self, store: RedisStore) -> None:
        """The same sessionId twice is the same session."""
        first = await accept(store)
        second = await accept(store)
        assert second.reused
        assert (second.session_id, second.epoch) == (first.session_id, first.epoch)
        assert await store.queue.depth() == 1

    async def test_join_in_busy_room_returns_the_holder(self, store: RedisStore) -> None:
        """A join in a busy room returns the holder."""
        await accept(store)
        second = await accept(store, "other")
        assert (second.session_id, second.reused) == ("call-7", True)

    async def test_session_id_live_in_another_room_is_refused(self, store: RedisStore) -> None:
        """A session id that is live in another room is refused, and the error names that room."""
        await accept(store)
        with pytest.raises(SessionInUseError) as caught:
            await accept(store, room="webrtc:else")
        assert caught.value.extra["room_url"] == "webrtc:demo"

    async def test_session_id_of_an_ended_session_gets_a_higher_epoch(
        self, store: RedisStore
    ) -> None:
        """A session id that has ended is a new session with a higher epoch, in any room."""
        epoch = await run(store)
        await store.finish("call-7", epoch, "left")
        again = await accept(store, room="webrtc:else")
        assert not again.reused
        assert again.epoch > epoch

    async def test_full_queue_refuses_a_join_and_keeps_nothing_of_it(
        self, store: RedisStore
    ) -> None:
        """A full queue refuses a join, and nothing of it remains."""
        await accept(store)
        with pytest.raises(QueueFullError):
            await store.accept(launch("b", "webrtc:b"), queue_max=1)
        with pytest.raises(NotFoundError):
            await store.session("b")
        assert await raw(store, store.keys.room_active("webrtc:b")) is None

    async def test_concurrent_joins_for_one_room_make_one_session(self, store: RedisStore) -> None:
        """Of many concurrent joins for one room exactly one is new."""
        answers = await asyncio.gather(*(accept(store, f"s{i}") for i in range(50)))
        assert sum(not answer.reused for answer in answers) == 1
        assert len({answer.session_id for answer in answers}) == 1

    async def test_repeated_accept_has_the_same_reply(self, store: RedisStore) -> None:
        """A join that is sent again because its reply was lost is still new, and queued once."""
        args = accept_arguments(launch(), "token", queue_max=100, limit_sets=[])
        key = store.keys.session("call-7")
        first = await store.scripts.run("accept", key, args)
        assert await store.scripts.run("accept", key, args) == first
        assert await store.queue.depth() == 1

    async def test_repeated_accept_after_the_end_starts_nothing(self, store: RedisStore) -> None:
        """A join that is sent again after its session has ended starts no second one."""
        args = accept_arguments(launch(), "token", queue_max=100, limit_sets=[])
        key = store.keys.session("call-7")
        first = await store.scripts.run("accept", key, args)
        await store.finish("call-7", 1, "cancelled")
        assert await store.scripts.run("accept", key, args) == first
        assert await store.queue.depth() == 0

    async def test_join_reports_that_the_session_is_stopping(self, store: RedisStore) -> None:
        """A join that meets a session which is about to end says so."""
        await run(store)
        assert not (await accept(store)).stopping
        await store.leave(session_id="call-7")
        assert (await accept(store, "other")).stopping

    async def test_runner_accepts_a_session_without_the_queue(self, store: RedisStore) -> None:
        """A runner that was asked directly takes the room without the queue."""
        accepted = await store.accept(launch(), queue_max=1, runner=RUNNER)
        assert await store.queue.depth() == 0
        await store.confirm_running("call-7", accepted.epoch, HOLDER)
        assert (await store.session("call-7")).state == "running"


class TestQueue:
    async def test_queue_entry_carries_the_launch(self, store: RedisStore) -> None:
        """An operator reads the launch as the caller sent it, with its epoch."""
        await accept(store, user_name="Ada", body={"empty": [], "n": 12345678901234567890})
        assert await store.queue.read("op", count=10, block_ms=1) == []  # makes the group
        (entry,) = await store.queue.read("op", count=10, block_ms=1)
        assert entry.launch is not None
        assert entry.launch.epoch == 1
        assert entry.launch.user_name == "Ada"
        assert entry.launch.body == {"empty": [], "n": 12345678901234567890}

    async def test_arguments_keep_every_character(self, store: RedisStore) -> None:
        """NUL, quotes, other alphabets and long texts arrive in Redis byte for byte."""
        text = 'NUL \0, "quotes", \\, \u2028, Grüße, 日本, \U0001f600' + "x" * 70_000
        sent = launch(user_name="Zoë \U0001f600", body={"text": text})
        accepted = await store.accept(sent, queue_max=9)
        stored = await store.connection.client.hgetall(store.keys.session("call-7"))
        assert stored["launch"] == encode(sent)
        assert stored["user_name"] == "Zoë \U0001f600"
        assert (stored["epoch"], stored["deadline_s"]) == ("1", "60")
        assert stored["created_ms"] == str(accepted.created_ms)

    async def test_unknown_version_becomes_a_dead_letter(self, store: RedisStore) -> None:
        """A message of an unknown version becomes a dead letter, with the reason."""
        await store.queue.read("op", count=1, block_ms=1)
        await store.connection.client.xadd(
            store.keys.launches, {"v": "9", "epoch": "1", "attempt": "1", "launch": '{"v":9}'}
        )
        (entry,) = await store.queue.read("op", count=1, block_ms=1)
        assert entry.launch is None
        await store.queue.dead_letter(entry)
        assert await store.queue.depth() == 0
        ((_, letter),) = await store.connection.client.xrange(store.keys.dead_letters)
        assert "version 9" in letter["problem"]

    async def test_abandoned_entries_are_claimed_and_held_ones_are_not(
        self, store: RedisStore
    ) -> None:
        """An operator claims the entries that another one has read and not finished, except held ones."""
        await accept(store)
        await accept(store, "b", "webrtc:b")
        await store.queue.read("one", count=1, block_ms=1)
        held, _ = await store.queue.read("one", count=10, block_ms=1)
        await asyncio.sleep(0.05)
        await store.queue.hold("one", [held.entry_id])
        taken = await store.queue.claim_abandoned("two", idle_ms=40, count=10)
        assert [entry.launch.session_id for entry in taken if entry.launch] == ["b"]


class TestAssign:
    async def test_assign_chooses_the_runner_with_most_free_slots(self, store: RedisStore) -> None:
        """The session goes to the live runner with most free slots."""
        await store.register(RUNNER)
        await store.register(Registration("r2", "http://127.0.0.1:2", capacity=5))
        await accept(store)
        assert (await store.placement.assign("call-7", 1)).runner_id == "r2"

    async def test_runner_gets_no_more_sessions_than_slots(self, store: RedisStore) -> None:
        """No runner gets more sessions than it has slots."""
        await store.register(RUNNER)
        outcomes = []
        for i in range(4):
            accepted = await accept(store, f"s{i}", f"webrtc:{i}")
            outcomes.append((await store.placement.assign(f"s{i}", accepted.epoch)).outcome)
        assert outcomes == ["assigned", "assigned", "none", "none"]

    async def test_slot_returns_once(self, store: RedisStore) -> None:
        """A slot returns once, however often the end is reported."""
        epoch = await run(store)
        assert await store.register(RUNNER) == 1
        assert await store.finish("call-7", epoch, "left")
        assert not await store.finish("call-7", epoch, "bot_finished")
        assert await store.connection.client.zscore(store.keys.runner_free, "r1") == 2
        assert await store.register(RUNNER) == 2

    @pytest.mark.parametrize(
        "info",
        [
            Registration("r1", "http://127.0.0.1:1", capacity=2, bots=("other",)),
            Registration("r1", "http://127.0.0.1:1", capacity=2, draining=True),
            Registration("r1", "http://127.0.0.1:1", capacity=0),
        ],
    )
    async def test_unfit_runner_is_not_chosen(self, store: RedisStore, info: Registration) -> None:
        """A runner that lacks the bot, has no free slot or drains is not chosen."""
        await store.register(info)
        await accept(store)
        assert (await store.placement.assign("call-7", 1)).outcome == "none"

    async def test_pack_chooses_the_fullest_runner(self, store: RedisStore) -> None:
        """With `pack` the session goes to the runner with fewest free slots."""
        await store.register(RUNNER)
        await store.register(Registration("r2", "http://127.0.0.1:2", capacity=5))
        chosen = []
        for i in range(3):
            accepted = await accept(store, f"s{i}", f"webrtc:{i}")
            given = await store.placement.assign(f"s{i}", accepted.epoch, placement="pack")
            chosen.append(given.runner_id)
        assert chosen == ["r1", "r1", "r2"]

    async def test_assign_finds_the_one_runner_with_the_bot(self, store: RedisStore) -> None:
        """The one runner that has the bot is found behind many that lack it."""
        for i in range(70):
            info = Registration(f"x{i}", "http://127.0.0.1:1", capacity=9, bots=("other",))
            await store.register(info)
        await store.register(RUNNER)
        await accept(store)
        assert (await store.placement.assign("call-7", 1)).runner_id == "r1"

    async def test_cold_start_is_repeated_under_its_name_only(self, store: RedisStore) -> None:
        """The cold start of an operator that died is repeated with the same name, and with no other."""
        await accept(store)
        for _ in range(2):
            assert (
                await store.placement.assign("call-7", 1, job_name="job-1")
            ).outcome == "assigned"
        assert (await store.placement.assign("call-7", 1, job_name="job-2")).outcome == "gone"
        await store.confirm_running(
            "call-7", 1, Holder("c", "http://127.0.0.1:3", "cold", 1, "job-1")
        )
        assert (await store.placement.assign("call-7", 1, job_name="job-1")).outcome == "gone"

    async def test_build_of_the_last_holder_is_kept(self, store: RedisStore) -> None:
        """The record has what runs; sessions are found by how a part of it begins."""
        await accept(store)
        await store.placement.assign("call-7", 1, job_name="job-1")
        build = {"bot": "3f9a1c0d2e4b", "pipecat": "1.14.0"}
        holder = Holder("c", "http://127.0.0.1:3", "cold", 1, "job-1", build)
        await store.confirm_running("call-7", 1, holder)
        await store.renew([Renewal("call-7", 1, holder)])
        assert (await store.session("call-7")).build == build
        for start, expected in (("3f9a", ["call-7"]), ("1.14.0", ["call-7"]), ("9a1c", [])):
            found, _ = await store.sessions(SessionFilter(build=start))
            assert [record.session_id for record in found] == expected

    async def test_silent_runner_is_not_chosen(self, store: RedisStore) -> None:
        """A runner without a recent heartbeat is not chosen."""
        await store.register(RUNNER)
        await store.connection.client.zadd(store.keys.runners, {"r1": 1})
        await accept(store)
        assert (await store.placement.assign("call-7", 1)).outcome == "none"

    async def test_excluded_runner_is_not_chosen(self, store: RedisStore) -> None:
        """A runner that has refused the session is not chosen again."""
        await store.register(RUNNER)
        await accept(store)
        assert (await store.placement.assign("call-7", 1, excluded=["r1"])).outcome == "none"

    async def test_lower_epoch_assigns_nothing(self, store: RedisStore) -> None:
        """A lower epoch than the session's assigns nothing."""
        await store.register(RUNNER)
        await accept(store)
        await store.placement.assign("call-7", 1)
        await store.placement.recover("call-7", 1, "refused")
        assert (await store.placement.assign("call-7", 1)).outcome == "gone"


class TestHolder:
    async def test_running_writes_holder_and_keepalive(self, store: RedisStore) -> None:
        """Running writes the holder of the room and its keepalive."""
        await run(store)
        active = await raw(store, store.keys.room_active("webrtc:demo"))
        assert (active["status"], active["pid"]) == ("running", 42)
        keepalive = await raw(store, store.keys.room_keepalive("webrtc:demo"))
        assert (keepalive["session_id"], keepalive["epoch"]) == ("call-7", 1)
        assert (
            0
            < await store.connection.client.pttl(store.keys.room_keepalive("webrtc:demo"))
            <= 15_000
        )

    async def test_replaced_runner_is_refused(self, store: RedisStore) -> None:
        """A runner that was replaced is refused before its bot enters."""
        await store.register(RUNNER)
        await accept(store)
        await store.placement.assign("call-7", 1)
        await store.placement.recover("call-7", 1, "refused")
        with pytest.raises(StaleEpochError):
            await store.confirm_running("call-7", 1, HOLDER)

    async def test_cancelled_session_never_runs(self, store: RedisStore) -> None:
        """A join that was cancelled while its runner started never gets a bot."""
        await store.register(RUNNER)
        await accept(store)
        await store.placement.assign("call-7", 1)
        assert (await store.leave(session_id="call-7")).outcome == "cancelled"
        with pytest.raises(ConflictError):
            await store.confirm_running("call-7", 1, HOLDER)

    async def test_other_runner_is_refused(self, store: RedisStore) -> None:
        """Another runner than the assigned one is refused."""
        await store.register(RUNNER)
        await accept(store)
        await store.placement.assign("call-7", 1)
        with pytest.raises(ConflictError):
            await store.confirm_running("call-7", 1, Holder("r9", "http://127.0.0.1:9", "warm", 1))

    async def test_session_past_its_deadline_does_not_run(self, store: RedisStore) -> None:
        """A session does not run after its deadline: its caller is told that it has expired."""
        await store.register(RUNNER)
        await accept(store)
        await store.placement.assign("call-7", 1)
        await store.connection.client.hset(store.keys.session("call-7"), "deadline_ms", 1)
        with pytest.raises(ConflictError):
            await store.confirm_running("call-7", 1, HOLDER)

    async def test_renewal_restores_a_lost_running_state(self, store: RedisStore) -> None:
        """A renewal restores the state that a failover has set back to starting."""
        await run(store)
        await store.connection.client.hset(store.keys.session("call-7"), "state", "starting")
        await store.connection.client.zadd(store.keys.deadlines, {"call-7": 1})
        assert await store.renew([Renewal("call-7", 1, HOLDER)]) == ["held"]
        assert (await store.session("call-7")).state == "running"
        assert await store.placement.expire_overdue() == []

    async def test_adopt_restores_a_lost_session(self, store: RedisStore) -> None:
        """A holder restores its session in a Redis that has lost it."""
        told = Launch("call-7", "webrtc:demo", epoch=5, user_id="u-1", attempt=2)
        assert await store.adopt(told, HOLDER) == "held"
        assert await store.adopt(told, HOLDER) == "held"
        record = await store.session("call-7")
        assert (record.state, record.epoch, record.attempt, record.pid) == ("running", 5, 2, 42)
        assert await store.renew([Renewal("call-7", 5, HOLDER)]) == ["held"]
        await expire_lease(store)
        assert (await store.placement.recover("call-7", 5)).epoch == 6
        assert await store.adopt(told, HOLDER) == "lost"

    async def test_adopt_is_lost_if_the_room_was_granted_again(self, store: RedisStore) -> None:
        """A room that was granted to another session meanwhile stays with it."""
        await accept(store, "other")
        assert await store.adopt(Launch("call-7", "webrtc:demo", epoch=5), HOLDER) == "lost"
        await store.finish("other", 1, "cancelled")
        told = Launch("call-7", "webrtc:demo", epoch=1)
        await accept(store, "third")
        await store.finish("third", 2, "cancelled")
        assert await store.adopt(told, HOLDER) == "lost"

    async def test_renew_returns_a_result_for_each_lease_in_order(self, store: RedisStore) -> None:
        """Each result is about one lease, in the order of the renewals."""
        await run(store)
        await run(store, "b", "webrtc:b")
        await store.leave(session_id="b")
        verdicts = await store.renew(
            [
                Renewal("call-7", 1, HOLDER),
                Renewal("call-7", 9, HOLDER),
                Renewal("b", 1, HOLDER),
                Renewal("never", 1, HOLDER),
                Renewal("call-7", 1, Holder("r9", "http://127.0.0.1:9", "warm", 1)),
            ]
        )
        assert verdicts == ["held", "lost", "stop", "unknown", "lost"]

    async def test_finish_with_a_lower_epoch_changes_nothing(self, store: RedisStore) -> None:
        """A holder that was replaced ends nothing."""
        epoch = await run(store)
        await expire_lease(store)
        await store.placement.recover("call-7", epoch)
        assert not await store.finish("call-7", epoch, "bot_crashed")
        assert (await store.session("call-7")).state == "queued"

    @pytest.mark.parametrize("reason", sorted(REASONS))
    async def test_finish_frees_everything(self, store: RedisStore, reason: str) -> None:
        """Every reason leads to its state and frees room, lease, keepalive and queue entry."""
        epoch = await run(store)
        assert await store.finish("call-7", epoch, reason, "why")
        record = await store.session("call-7")
        assert record.state == REASONS[reason]
        assert record.state in TERMINAL
        assert (record.reason, record.detail) == (reason, "why")
        for key in (
            store.keys.room_active("webrtc:demo"),
            store.keys.room_keepalive("webrtc:demo"),
        ):
            assert not await store.connection.client.exists(key)
        for key in (store.keys.leases, store.keys.deadlines, store.keys.live):
            assert await store.connection.client.zcard(key) == 0
        assert await store.queue.depth() == 0
        assert await store.connection.client.hget(store.keys.session("call-7"), "launch") is None
        assert await store.connection.client.pttl(store.keys.session("call-7")) > 0


class TestLeave:
    async def test_leave_of_an_absent_session_is_no_error(self, store: RedisStore) -> None:
        """A leave without a session is no error."""
        assert (await store.leave(session_id="never")).outcome == "absent"
        assert (await store.leave(room="webrtc:empty", force=True)).outcome == "absent"

    async def test_leave_cancels_a_queued_session(self, store: RedisStore) -> None:
        """A queued session is cancelled at once, and its entry leaves the queue."""
        await accept(store)
        assert (await store.leave(session_id="call-7")).outcome == "cancelled"
        assert (await store.session("call-7")).reason == "cancelled"
        assert await store.queue.depth() == 0

    @pytest.mark.parametrize("is_assigned", [False, True], ids=["queued", "starting"])
    async def test_leave_ends_a_session_whose_bot_was_lost(
        self, store: RedisStore, is_assigned: bool
    ) -> None:
        """It was a call: its caller has left it, and it is not said to have never run."""
        epoch = await run(store)
        await store.hand_over("call-7", epoch, "bot_died", RecoveringHolder("r1"))
        if is_assigned:
            assert (await store.placement.assign("call-7", epoch + 1)).outcome == "assigned"
        assert (await store.leave(session_id="call-7")).outcome == "ended"
        record = await store.session("call-7")
        assert (record.state, record.reason) == ("ended", "left")
        assert await store.queue.depth() == 0

    async def test_leave_needs_the_session_id_of_the_holder(self, store: RedisStore) -> None:
        """Only the session id of the holder ends the session of a room."""
        await run(store)
        with pytest.raises(NotHolderError):
            await store.leave(session_id="other", room="webrtc:demo")
        forced = await store.leave(room="webrtc:demo", force=True)
        assert (forced.outcome, forced.session_id) == ("stopping", "call-7")


class TestHandOverByARunner:
    @pytest.mark.parametrize(("cause", "attempt"), [("bot_died", 2), ("draining", 1)])
    async def test_holder_may_queue_its_session_again(
        self, store: RedisStore, cause: HandOverCause, attempt: int
    ) -> None:
        """Although its lease has not run out; only a death counts as an attempt. A repeated call changes nothing."""
        epoch = await run(store)
        holder = RecoveringHolder("r1", token="t")
        for _ in range(2):
            outcome = await store.hand_over("call-7", epoch, cause, holder)
            assert (outcome.outcome, outcome.attempt) == ("queued", attempt)
            assert outcome.epoch == epoch + 1
        record = await store.session("call-7")
        assert (record.state, record.recovery, record.runner_id) == ("queued", cause, None)
        assert await store.queue.depth() == 1

    async def test_only_the_holder_may(self, store: RedisStore) -> None:
        """Neither another runner, nor the holder of an earlier epoch."""
        epoch = await run(store)
        for runner_id, of_epoch in (("r2", epoch), ("r1", epoch - 1)):
            holder = RecoveringHolder(runner_id)
            outcome = await store.hand_over("call-7", of_epoch, "bot_died", holder)
            assert outcome.outcome == "gone"
        assert (await store.session("call-7")).state == "running"

    async def test_session_that_was_left_meanwhile_ends(self, store: RedisStore) -> None:
        """Its caller wants no next bot."""
        epoch = await run(store)
        await store.leave(session_id="call-7")
        await store.hand_over("call-7", epoch, "bot_died", RecoveringHolder("r1"))
        record = await store.session("call-7")
        assert (record.state, record.reason) == ("ended", "left")

    @pytest.mark.parametrize("cause", ["draining", "bot_died"])
    async def test_session_that_no_other_runner_takes_is_lost(
        self, store: RedisStore, cause: HandOverCause
    ) -> None:
        """It had met its deadline once, so it did not miss it: its runner was stopped, or its bot was lost."""
        epoch = await run(store)
        await store.hand_over("call-7", epoch, cause, RecoveringHolder("r1"))
        key = store.keys.session("call-7")
        await store.connection.client.hset(key, "deadline_ms", 1)
        await store.connection.client.zadd(store.keys.deadlines, {"call-7": 1})
        (expired,) = await store.placement.expire_overdue()
        assert (expired.record.state, expired.record.reason) == ("failed", "runner_lost")


class TestSuspect:
    async def test_operators_are_notified_once_in_a_while(self, store: RedisStore) -> None:
        """However many hints come; each names the session and its epoch."""
        epoch = await run(store)
        async with store.reader.suspicions() as suspicions:
            for _ in range(3):
                assert await store.suspect("call-7", pause_s=60) == "running"
            await store.suspect("call-7", pause_s=0)
            for _ in range(2):
                assert await anext(suspicions) == Suspicion("call-7", epoch)
        assert (await store.session("call-7")).state == "running"

    async def test_session_that_does_not_run_is_left_alone(self, store: RedisStore) -> None:
        """Nobody is notified; an unknown one is an error."""
        await accept(store)
        assert await store.suspect("call-7", pause_s=0) == "queued"
        assert not await store.connection.client.hexists(
            store.keys.session("call-7"), "suspected_ms"
        )
        with pytest.raises(NotFoundError):
            await store.suspect("never", pause_s=0)


class TestRecover:
    async def test_confirmed_death_needs_no_expired_lease(self, store: RedisStore) -> None:
        """An operator has confirmed it."""
        epoch = await run(store)
        outcome = await store.placement.recover("call-7", epoch, "confirmed")
        assert (outcome.outcome, outcome.attempt) == ("queued", 2)

    async def test_held_session_is_not_recovered(self, store: RedisStore) -> None:
        """A session whose lease has not run out is not recovered."""
        epoch = await run(store)
        assert (await store.placement.recover("call-7", epoch)).outcome == "held"

    async def test_refused_session_that_runs_is_left_alone(self, store: RedisStore) -> None:
        """A start that succeeded and whose reply was lost is left alone: its bot is in the room."""
        epoch = await run(store)
        assert (await store.placement.recover("call-7", epoch, "refused")).outcome == "held"
        assert (await store.session("call-7")).state == "running"

    async def test_lost_hand_over_is_repeated_without_an_attempt(self, store: RedisStore) -> None:
        """A hand-over that was lost is repeated; it counts as no attempt and keeps the deadline."""
        await store.register(RUNNER)
        await accept(store)
        await store.placement.assign("call-7", 1)
        deadline = (await store.session("call-7")).deadline_ms
        assert (await store.placement.recover("call-7", 1, "unstarted")).outcome == "held"
        await expire_lease(store)
        again = await store.placement.recover("call-7", 1, "unstarted")
        assert (again.outcome, again.epoch, again.attempt) == ("queued", 2, 1)
        assert (await store.session("call-7")).deadline_ms == deadline

    async def test_third_death_fails_the_session(self, store: RedisStore) -> None:
        """A session is recovered twice at most, each time with a higher epoch."""
        epoch = await run(store)
        for attempt in (2, 3):
            await expire_lease(store)
            recovered = await store.placement.recover("call-7", epoch)
            assert (recovered.outcome, recovered.attempt) == ("queued", attempt)
            assert recovered.epoch > epoch
            epoch = recovered.epoch
            await store.placement.assign("call-7", epoch)
            await store.confirm_running("call-7", epoch, HOLDER)
        taken = (await store.session("call-7")).take_overs
        assert [(item.attempt, item.cause, item.runner_id) for item in taken] == [
            (2, "died", HOLDER.runner_id),
            (3, "died", HOLDER.runner_id),
        ]
        assert taken[-1].epoch == epoch
        await expire_lease(store)
        assert (await store.placement.recover("call-7", epoch)).reason == "runner_lost"
        assert (await store.session("call-7")).state == "failed"

    async def test_take_over_names_who_continued(self, store: RedisStore) -> None:
        """The runner that continues may come after others have refused the session."""
        await run(store)
        recovered = await store.placement.recover(
            "call-7", 1, "confirmed", sign="its port is closed", seen_ms=1500
        )
        (taken,) = (await store.session("call-7")).take_overs
        assert (taken.sign, taken.seen_ms) == ("its port is closed", 1500)
        assert (taken.taken_by, taken.ran_ms, taken.silence_ms) == (None, None, None)
        await store.placement.assign("call-7", recovered.epoch)
        again = await store.placement.recover("call-7", recovered.epoch, "refused")
        await store.unregister(RUNNER.runner_id)
        await store.register(replace(RUNNER, runner_id="r9"))
        await store.placement.assign("call-7", again.epoch)
        await store.confirm_running("call-7", again.epoch, replace(HOLDER, runner_id="r9"))
        record = await store.session("call-7")
        (taken,) = record.take_overs
        assert (taken.epoch, taken.taken_by) == (recovered.epoch, "r9")
        assert taken.ran_ms == record.stages["running"]
        assert taken.silence_ms == taken.ran_ms - taken.at_ms + 1500
        await store.hand_over(
            "call-7", again.epoch, "bot_died", RecoveringHolder("r9", detail="killed by SIGSEGV")
        )
        first, last = (await store.session("call-7")).take_overs
        assert (first, last.sign, last.taken_by) == (taken, "killed by SIGSEGV", None)

    @pytest.mark.parametrize("why", ["died", "unstarted", "refused"])
    async def test_recovery_returns_the_slot_once(
        self, store: RedisStore, why: RecoveryCause
    ) -> None:
        """For every cause of a recovery the runner's slot returns once."""
        await store.register(RUNNER)
        await accept(store)
        await store.placement.assign("call-7", 1)
        if why == "died":
            await store.confirm_running("call-7", 1, HOLDER)
        assert await store.runners.free_slots() == RUNNER.capacity - 1
        await expire_lease(store)
        for _ in range(2):
            await store.placement.recover("call-7", 1, why)
            assert await store.runners.free_slots() == RUNNER.capacity
        assert await store.connection.client.smembers(store.keys.runner_sessions("r1")) == set()

    @pytest.mark.parametrize("why", ["died", "unstarted", "refused"])
    async def test_recovered_session_ignores_its_old_holder(
        self, store: RedisStore, why: RecoveryCause
    ) -> None:
        """A recovered session has a new epoch everywhere, and its old holder changes nothing."""
        await store.register(RUNNER)
        await accept(store)
        await store.placement.assign("call-7", 1)
        if why == "died":
            await store.confirm_running("call-7", 1, HOLDER)
        await expire_lease(store)
        recovered = await store.placement.recover("call-7", 1, why)
        assert (recovered.outcome, recovered.epoch) == ("queued", 2)
        assert (await store.session("call-7")).epoch == 2
        active = await raw(store, store.keys.room_active("webrtc:demo"))
        assert (active["epoch"], active["status"]) == (2, "queued")
        *_, entry = await store.connection.client.xrange(store.keys.launches)
        assert entry[1]["epoch"] == "2"
        await store.placement.assign("call-7", 2)
        with pytest.raises(StaleEpochError):
            await store.confirm_running("call-7", 1, HOLDER)
        assert await store.renew([Renewal("call-7", 1, HOLDER)]) == ["lost"]
        assert not await store.finish("call-7", 1, "left")
        assert (await store.placement.recover("call-7", 1, why)).outcome == "gone"
        assert (await store.session("call-7")).state == "starting"

    async def test_stopping_session_is_not_recovered(self, store: RedisStore) -> None:
        """A session that was asked to end is not recovered when its runner dies."""
        epoch = await run(store)
        await store.leave(session_id="call-7")
        await expire_lease(store)
        await store.placement.recover("call-7", epoch)
        record = await store.session("call-7")
        assert (record.state, record.reason) == ("ended", "left")

    async def test_suspects_are_sessions_with_expired_leases(self, store: RedisStore) -> None:
        """Only sessions whose lease has run out are suspects."""
        await run(store)
        await run(store, "b", "webrtc:b")
        await expire_lease(store, "b")
        assert [item.record.session_id for item in await store.placement.suspects()] == ["b"]

    async def test_session_expires_at_its_deadline_unless_it_runs(self, store: RedisStore) -> None:
        """A session that does not run by its deadline expires; a running one does not."""
        await accept(store)
        await run(store, "b", "webrtc:b")
        assert await store.placement.expire_overdue() == []
        await store.connection.client.hset(store.keys.session("call-7"), "deadline_ms", 1)
        await store.connection.client.zadd(store.keys.deadlines, {"call-7": 1})
        (expired,) = await store.placement.expire_overdue()
        assert (expired.record.state, expired.record.reason) == ("expired", "deadline")


class TestReading:
    async def test_pages_are_newest_first_and_complete(self, store: RedisStore) -> None:
        """Pages go from the newest session to the oldest, and contain each session once."""
        for i in range(7):
            await accept(store, f"s{i}", f"webrtc:{i}", user_id=f"u{i % 2}")
        seen: list[str] = []
        cursor = None
        while True:
            page, cursor = await store.sessions(limit=3, cursor=cursor)
            seen += [record.session_id for record in page]
            if cursor is None:
                break
        assert sorted(seen) == [f"s{i}" for i in range(7)]
        times = {f"s{i}": (await store.session(f"s{i}")).created_ms for i in range(7)}
        assert [times[sid] for sid in seen] == sorted(times.values(), reverse=True)
        page, _ = await store.sessions(SessionFilter(user_id="u1"))
        assert {record.session_id for record in page} == {"s1", "s3", "s5"}

    @pytest.mark.parametrize(
        ("wanted", "expected"),
        [
            (SessionFilter(live=True), ["s4", "s2", "s0"]),
            (SessionFilter(reason="cancelled"), ["s3", "s1"]),
            (SessionFilter(user="Name of u1"), ["s3", "s1"]),
            (SessionFilter(user="u0", live=True), ["s4", "s2", "s0"]),
            (SessionFilter(since_ms=3_000), ["s4", "s3"]),
            (SessionFilter(until_ms=3_000), ["s2", "s1", "s0"]),
            (SessionFilter(since_ms=1_000, until_ms=2_000), ["s1"]),
        ],
    )
    async def test_pages_contain_what_the_filter_selects(
        self, store: RedisStore, wanted: SessionFilter, expected: list[str]
    ) -> None:
        """A page has the sessions that meet all conditions, also if it is read one by one."""
        for i in range(5):
            user = f"u{i % 2}"
            accepted = await accept(
                store, f"s{i}", f"webrtc:{i}", user_id=user, user_name=f"Name of {user}"
            )
            if i % 2:
                await store.finish(f"s{i}", accepted.epoch, "cancelled")
            await store.connection.client.hset(store.keys.session(f"s{i}"), "created_ms", i * 1000)
        for index in (store.keys.sessions, store.keys.live):
            for member in await store.connection.client.zrange(index, 0, -1):
                await store.connection.client.zadd(index, {member: int(member[1:]) * 1000})
        seen, cursor = [], None
        while True:
            page, cursor = await store.sessions(wanted, limit=1, cursor=cursor)
            seen += [record.session_id for record in page]
            if cursor is None:
                break
        assert seen == expected

    async def test_overview_has_the_queue_the_runners_and_the_operators(
        self, store: RedisStore
    ) -> None:
        """The overview counts what waits, what runs, and who is there."""
        await run(store, "a", "webrtc:a")
        await accept(store, "b", "webrtc:b")
        await store.register(Registration("r2", "http://127.0.0.1:9", capacity=4))
        for _ in range(2):  # the first read creates the group
            await store.queue.read("op-1/cold=3:*", count=1, block_ms=1)
        found = await store.overview()
        assert (found.live, found.overdue, found.dead_letters) == (2, 0, 0)
        assert found.queued >= 1
        runners = {runner.runner_id: runner for runner in found.runners}
        assert (runners["r2"].capacity, runners["r2"].free, runners["r2"].is_alive) == (4, 4, True)
        (operator,) = found.operators
        assert (operator.name, operator.cold_slots, operator.is_alive) == ("op-1", 3, True)
        await store.connection.client.zadd(store.keys.leases, {"a": 1})
        assert (await store.overview()).overdue == 1

    @pytest.mark.parametrize("limit", [1, 2, 3])
    async def test_pages_split_sessions_of_one_millisecond(
        self, store: RedisStore, limit: int
    ) -> None:
        """Sessions of one millisecond are split over pages like all others."""
        for i in range(9):
            await accept(store, f"s{i}", f"webrtc:{i}")
        at_ms = (await store.session("s0")).created_ms
        times = {f"s{i}": at_ms - (i < 2) for i in range(9)}
        await store.connection.client.zadd(store.keys.sessions, times)
        seen, cursor = [], None
        while True:
            page, cursor = await store.sessions(limit=limit, cursor=cursor)
            seen += [record.session_id for record in page]
            if cursor is None:
                break
        assert seen == [f"s{i}" for i in reversed(range(9))]

    async def test_every_change_of_state_is_published(self, store: RedisStore) -> None:
        """Every change of state is published, the last one with its reason."""
        async with store.changes() as changes:
            epoch = await run(store)
            await store.finish("call-7", epoch, "left")
            states = []
            async for change in changes:
                states.append(change.state)
                if change.state == "ended":
                    break
        assert states == ["queued", "starting", "running", "ended"]
        assert change.reason == "left"

    async def test_unreachable_redis_is_named_without_its_password(self) -> None:
        """The error about an unreachable Redis has its address and not its password."""
        async with open_store("redis://:hush@127.0.0.1:1/0") as gone:
            with pytest.raises(StoreUnavailableError) as caught:
                await gone.ping()
        assert "127.0.0.1:1" in str(caught.value)
        assert "hush" not in str(caught.value)


class TestLateEnd:
    async def test_late_end_is_written_after_the_lease(self, store: RedisStore) -> None:
        """An end counts however late it is written, unless the session was recovered."""
        epoch = await run(store)
        await expire_lease(store)
        assert await store.finish("call-7", epoch, "bot_finished", token="of-the-runner")
        assert (await store.placement.recover("call-7", epoch)).outcome == "gone"
        assert (await store.session("call-7")).reason == "bot_finished"

    async def test_repeated_finish_with_one_token_is_the_same_end(self, store: RedisStore) -> None:
        """A runner that repeats a lost finish learns that the end is its own."""
        epoch = await run(store)
        for _ in range(2):
            assert await store.finish("call-7", epoch, "bot_finished", token="of-the-runner")
        assert not await store.finish("call-7", epoch, "bot_crashed", token="of-an-operator")
        assert (await store.session("call-7")).reason == "bot_finished"

    async def test_late_end_of_a_recovered_session_is_ignored(self, store: RedisStore) -> None:
        """Once the session was given to another runner, the end of the old one changes nothing."""
        epoch = await run(store)
        await expire_lease(store)
        assert (await store.placement.recover("call-7", epoch)).outcome == "queued"
        assert not await store.finish("call-7", epoch, "bot_finished", token="of-the-runner")
        assert (await store.session("call-7")).state == "queued"
