"""The store's scripts against a pure model: hypothesis draws what callers, operators and runners do."""

import asyncio
import itertools
from dataclasses import dataclass, field
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from cordboard.contract.errors import (
    ConflictError,
    CordboardError,
    QueueFullError,
    SessionInUseError,
    SessionUsedError,
    TooManySessionsError,
)
from cordboard.contract.launch import Launch
from cordboard.contract.state import LIVE, REASONS, RECOVERIES_MAX, TERMINAL, TRANSITIONS
from cordboard.store import Holder, JoinLimits, RedisStore, Registration, Renewal
from cordboard.store.keys import Keys
from cordboard.store.limits import limit_sets
from cordboard.store.sharding.shard import Shard

SIDS = st.sampled_from(["a", "b"])
ROOMS = st.sampled_from(["webrtc:x", "webrtc:y"])
USERS = st.sampled_from([None, "u", "v"])
PER_USER = st.sampled_from([0, 1])
RUNNERS = st.sampled_from(["r1", "r2"])
EPOCHS = st.sampled_from([0, 0, 0, 1, 2])  # how much lower than the session's epoch
CAPACITY = 2
QUEUE_MAX = 1

LEGAL = {(state, after) for state, following in TRANSITIONS.items() for after in following}

_numbers = itertools.count()


@dataclass
class Model:
    """The expected state of one session."""

    room: str
    epoch: int
    user: str | None = None
    state: str = "queued"
    reason: str | None = None
    attempt: int = 1
    runner: str | None = None
    stop: bool = False
    has_run: bool = False
    history: list[str] = field(default_factory=list)

    def go(self, state: str, reason: str | None = None) -> None:
        assert (self.state, state) in LEGAL
        self.state, self.reason = state, reason
        self.has_run = self.has_run or state == "running"

    @property
    def live(self) -> bool:
        return self.state in LIVE


class StoreMachine(RuleBasedStateMachine):
    """Does the same to the store and to the model, and compares them."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        # On a busy machine one sequence may take longer than a lease of 15 s, and its runners would be gone.
        self.store = RedisStore(self.url, Keys(f"m{next(_numbers)}", lease_s=3600))
        self.sessions: dict[str, Model] = {}
        self.epochs: dict[str, int] = {}
        self.grants: set[tuple[str, int]] = set()
        for runner in ("r1", "r2"):
            self.do(self.store.register(Registration(runner, f"http://{runner}", CAPACITY)))

    def teardown(self) -> None:
        self.do(self.store.close())
        self.loop.close()

    def do(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def holder_of(self, room: str) -> str | None:
        found = [sid for sid, m in self.sessions.items() if m.live and m.room == room]
        assert len(found) <= 1
        return found[0] if found else None

    def grant(self, room: str, at_least: int) -> int:
        self.epochs[room] = max(self.epochs.get(room, 0), at_least) + 1
        assert (room, self.epochs[room]) not in self.grants
        self.grants.add((room, self.epochs[room]))
        return self.epochs[room]

    def queued(self) -> int:
        return sum(model.state in {"queued", "starting"} for model in self.sessions.values())

    def live_of(self, user: str | None) -> int:
        return sum(model.live and model.user == user for model in self.sessions.values())

    @rule(sid=SIDS, room=ROOMS, user=USERS, per_user=PER_USER)
    def join(self, sid: str, room: str, user: str | None = None, per_user: int = 0) -> None:
        known, holder = self.sessions.get(sid), self.holder_of(room)
        launch = Launch(sid, room, epoch=1, user_id=user)
        try:
            accepted = self.do(
                self.store.accept(launch, queue_max=QUEUE_MAX, limits=JoinLimits(per_user=per_user))
            )
        except SessionInUseError:
            assert holder is None
            assert known is not None
            assert known.live
            return
        except SessionUsedError:
            assert holder is None
            assert known is not None
            assert not known.live
            assert known.user not in {None, user}
            return
        except TooManySessionsError:
            assert holder is None
            assert user is not None
            assert 0 < per_user <= self.live_of(user)
            return
        except QueueFullError:
            assert holder is None
            assert self.queued() >= QUEUE_MAX
            return
        if holder is not None:
            there = self.sessions[holder]
            assert (accepted.session_id, accepted.reused) == (holder, True)
            assert (accepted.epoch, accepted.status) == (there.epoch, there.state)
            assert accepted.stopping is there.stop
            return
        assert not accepted.reused
        assert known is None or known.user in {None, user}
        assert user is None or not per_user or self.live_of(user) < per_user
        epoch = self.grant(room, known.epoch if known else 0)
        assert accepted.epoch == epoch
        self.sessions[sid] = Model(room, epoch, user)

    @rule(sid=SIDS, lower=EPOCHS, job=st.booleans())
    def assign(self, sid: str, lower: int, job: bool) -> None:
        model = self.sessions.get(sid)
        epoch = model.epoch - lower if model else 1
        given = self.do(
            self.store.placement.assign(sid, epoch, job_name=f"job-{sid}-{epoch}" if job else None)
        )
        if model is None or lower or model.state not in {"queued", "starting"}:
            assert given.outcome == "gone"
        elif model.state == "starting":
            again = job and model.runner is None
            assert given.outcome == ("assigned" if again else "gone")
        elif job:
            assert given.outcome == "assigned"
            model.go("starting")
        else:
            free = {r: CAPACITY - self.used(r) for r in ("r1", "r2")}
            if max(free.values()) < 1:
                assert given.outcome == "none"
                return
            assert given.outcome == "assigned"
            assert free[given.runner_id] == max(free.values())
            model.runner = given.runner_id
            model.go("starting")

    def used(self, runner: str) -> int:
        return sum(model.live and model.runner == runner for model in self.sessions.values())

    @rule(sid=SIDS, lower=EPOCHS, runner=RUNNERS)
    def run(self, sid: str, lower: int, runner: str) -> None:
        model = self.sessions.get(sid)
        epoch = model.epoch - lower if model else 1
        kind: Any = "warm" if model and model.runner else "cold"
        holder = Holder(runner, f"http://{runner}", kind, pid=7)
        fits = (
            model is not None
            and not lower
            and model.state in {"starting", "running"}
            and (model.runner in {None, runner, f"cold {runner}"})
        )
        try:
            self.do(self.store.confirm_running(sid, epoch, holder))
        except ConflictError:
            assert not fits
            return
        assert fits
        assert model is not None
        if model.state == "starting":
            model.go("running")
            model.runner = runner if kind == "warm" else f"cold {runner}"

    @precondition(lambda self: any(m.state == "running" for m in self.sessions.values()))
    @rule(sid=SIDS, lower=EPOCHS)
    def renew(self, sid: str, lower: int) -> None:
        model = self.sessions.get(sid)
        runner = (model.runner or "r1").removeprefix("cold ") if model else "r1"
        if model and model.state == "starting":
            return  # only confirmed holders renew
        holder = Holder(runner, f"http://{runner}", "warm", pid=7)
        epoch = model.epoch - lower if model else 1
        (verdict,) = self.do(self.store.renew([Renewal(sid, epoch, holder)]))
        if model is None:
            assert verdict == "unknown"
        elif lower or model.state != "running":
            assert verdict == "lost"
        else:
            assert verdict == ("stop" if model.stop else "held")

    @rule(sid=SIDS, room=ROOMS)
    def call(self, sid: str, room: str) -> None:
        """What happens most of the time: a join that is handed over, and runs."""
        self.join(sid, room)
        self.assign(sid, 0, job=False)
        model = self.sessions.get(sid)
        if model and model.state == "starting":
            self.run(sid, 0, model.runner or "r1")

    @rule(sid=SIDS)
    def leave(self, sid: str) -> None:
        model = self.sessions.get(sid)
        left = self.do(self.store.leave(session_id=sid))
        if model is None or not model.live:
            assert left.outcome == "absent"
        elif model.state == "running":
            assert left.outcome == "stopping"
            model.stop = True
        else:
            end, reason = ("ended", "left") if model.has_run else ("cancelled", "cancelled")
            assert left.outcome == end
            model.go(end, reason)

    @rule(sid=SIDS, lower=EPOCHS, reason=st.sampled_from(sorted(REASONS)))
    def finish(self, sid: str, lower: int, reason: str) -> None:
        model = self.sessions.get(sid)
        epoch = model.epoch - lower if model else 1
        ended = self.do(self.store.finish(sid, epoch, reason))
        fits = model is not None and not lower and model.state in {"starting", "running"}
        if model is not None and model.state == "queued" and not lower:
            fits = True
        assert ended is fits
        if fits and model is not None:
            model.state, model.reason = REASONS[reason], reason

    @rule(sid=SIDS, lower=EPOCHS, why=st.sampled_from(["died", "unstarted", "refused"]),
          expired=st.booleans())  # fmt: skip
    def recover(self, sid: str, lower: int, why: Any, expired: bool) -> None:
        model = self.sessions.get(sid)
        epoch = model.epoch - lower if model else 1
        if expired and model and model.state in {"starting", "running"}:
            self.do(self.store.connection.client.zadd(self.store.keys.leases, {sid: 1}, xx=True))
        found = self.do(self.store.placement.recover(sid, epoch, why))
        if model is None or lower or model.state not in {"starting", "running"}:
            assert found.outcome == "gone"
            return
        unclaimed = model.state == "starting" and model.runner is None
        may = {
            "died": expired or unclaimed,
            "unstarted": expired and model.state == "starting",
            "refused": model.state == "starting",
        }[why]
        if not may:
            # An earlier draw may have let the lease run out.
            assert found.outcome in {"held", "queued", "failed"}
            if found.outcome == "held":
                return
            assert why != "refused"
            assert not (why == "unstarted" and model.state == "running")
        if model.stop:
            assert found.outcome == "failed"
            model.go("ended", "left")
            return
        attempt = model.attempt + (why == "died")
        if attempt > RECOVERIES_MAX + 1:
            assert found.outcome == "failed"
            model.go("failed", found.reason)
            return
        assert found.outcome == "queued"
        assert found.attempt == attempt
        model.go("queued")
        model.attempt, model.runner = attempt, None
        model.epoch = self.grant(model.room, model.epoch)
        assert found.epoch == model.epoch

    @precondition(lambda self: any(m.state == "running" for m in self.sessions.values()))
    @rule(sid=SIDS)
    def runner_dies(self, sid: str) -> None:
        """What recovery is for: a lease that has run out, and nobody who renews it."""
        self.recover(sid, 0, "died", expired=True)

    @rule(sid=SIDS)
    def deadline(self, sid: str) -> None:
        model = self.sessions.get(sid)
        if model is None or model.state not in {"queued", "starting"}:
            return
        keys = self.store.keys
        self.do(self.store.connection.client.hset(keys.session(sid), "deadline_ms", 1))
        self.do(self.store.connection.client.zadd(keys.deadlines, {sid: 1}))
        assert [e.record.session_id for e in self.do(self.store.placement.expire_overdue())] == [
            sid
        ]
        end = ("failed", "runner_lost") if model.has_run else ("expired", "deadline")
        model.go(*end)

    @rule(sid=SIDS)
    def record_is_kept_no_more(self, sid: str) -> None:
        model = self.sessions.get(sid)
        if model is None or model.live:
            return
        keys, client = self.store.keys, self.store.connection.client
        self.do(client.zadd(keys.ended, {sid: 1}, xx=True))
        assert self.do(self.store.placement.remove_old_records()) == 1
        del self.sessions[sid]
        indexes = [keys.sessions, keys.ended, keys.room_sessions(model.room)]
        for index in (*indexes, keys.user_sessions(model.user or "")):
            assert self.do(client.zscore(index, sid)) is None

    @invariant()
    def agree(self) -> None:
        keys, client = self.store.keys, self.store.connection.client
        for sid, model in self.sessions.items():
            record = self.do(self.store.session(sid))
            assert (record.state, record.epoch, record.attempt) == (
                model.state, model.epoch, model.attempt)  # fmt: skip
            assert record.room_url == model.room
            if model.state in TERMINAL:
                assert record.reason == model.reason
        live = {sid for sid, model in self.sessions.items() if model.live}
        assert set(self.do(client.zrange(keys.live, 0, -1))) == live
        waiting = {sid for sid in live if self.sessions[sid].state in {"queued", "starting"}}
        assert set(self.do(client.zrange(keys.deadlines, 0, -1))) == waiting
        assert self.do(self.store.queue.depth()) == len(waiting)
        leased = {sid for sid in live if self.sessions[sid].state in {"starting", "running"}}
        assert set(self.do(client.zrange(keys.leases, 0, -1))) == leased
        ended = set(self.sessions) - live
        assert set(self.do(client.zrange(keys.ended, 0, -1))) == ended
        for user in ("u", "v"):
            (count,) = limit_sets(Launch("x", "webrtc:x", epoch=1, user_id=user))
            assert self.do(Shard(self.store).count_live([count.name])) == [self.live_of(user)]
        for runner in ("r1", "r2"):
            free = self.do(client.zscore(keys.runner_free, runner))
            assert free == CAPACITY - self.used(runner)


def test_scripts_follow_the_model(redis_url: str) -> None:
    """Whatever callers, operators and runners do, in any order: the scripts decide as the model does."""
    StoreMachine.url = redis_url
    run_state_machine_as_test(
        StoreMachine,
        settings=settings(
            max_examples=60,
            stateful_step_count=50,
            deadline=None,
            # Bounded in time: a failure is told as it was met, not made smaller for minutes.
            phases=[Phase.generate],
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_refusals_are_errors_of_cordboard() -> None:
    """Whatever the store refuses is an error of Cordboard."""
    assert issubclass(ConflictError, CordboardError)
