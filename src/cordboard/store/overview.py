"""What the plane does at this moment: its queue, its warm runners, its operators."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from cordboard.contract.operator_name import max_cold_runners, plain_name
from cordboard.store.connection import Connection
from cordboard.store.keys import Keys
from cordboard.store.queue import OPERATOR_ALIVE_MS, LaunchQueue

RUNNERS_MAX: Final = 500  # that are listed; their slots are read one by one


@dataclass(frozen=True, slots=True)
class RunnerState:
    """A warm runner.

    Attributes:
        runner_id: Its id.
        capacity: Its number of slots.
        free: Its free slots.
        seen_ms: Milliseconds since its last heartbeat.
        is_alive: Whether that is less than a lease.
    """

    runner_id: str
    capacity: int
    free: int
    seen_ms: int
    is_alive: bool


@dataclass(frozen=True, slots=True)
class OperatorState:
    """An operator.

    Attributes:
        name: Its name.
        seen_ms: Milliseconds since it has last announced itself.
        is_alive: Whether that is recent.
        pending: Launches that it works on.
        cold_slots: The number of cold runners that it may start.
    """

    name: str
    seen_ms: int
    is_alive: bool
    pending: int
    cold_slots: int


@dataclass(frozen=True, slots=True)
class Overview:
    """The state of the plane.

    Attributes:
        queued: Accepted joins that wait for a runner.
        oldest_wait_s: Seconds for which the oldest of them has waited.
        live: Sessions that have not ended.
        overdue: Sessions whose lease has run out, and which no operator has recovered yet.
        dead_letters: Launches that no operator could read or place.
        runners: The warm runners.
        operators: The operators.
    """

    queued: int = 0
    oldest_wait_s: float = 0.0
    live: int = 0
    overdue: int = 0
    dead_letters: int = 0
    runners: tuple[RunnerState, ...] = ()
    operators: tuple[OperatorState, ...] = ()


async def read_overview(connection: Connection, keys: Keys, queue: LaunchQueue) -> Overview:
    """Return the state of one shard."""
    now_ms = await connection.now_ms()
    with connection.errors():
        async with connection.client.pipeline(transaction=False) as pipe:
            pipe.zcount(keys.live, "-inf", "+inf")
            pipe.zcount(keys.leases, "-inf", now_ms)
            pipe.xlen(keys.dead_letters)
            pipe.zrange(keys.runners, 0, RUNNERS_MAX - 1, desc=True, withscores=True)
            live, overdue, dead_letters, beats = await pipe.execute()
    consumers = await queue.consumers()
    return Overview(
        queued=await queue.depth(),
        oldest_wait_s=await queue.oldest_wait_s(),
        live=live,
        overdue=overdue,
        dead_letters=dead_letters,
        runners=await _runners(connection, keys, now_ms, beats),
        operators=tuple(
            OperatorState(
                name=plain_name(name),
                seen_ms=idle_ms,
                is_alive=idle_ms <= OPERATOR_ALIVE_MS,
                pending=pending,
                cold_slots=max_cold_runners(name),
            )
            for name, idle_ms, pending in consumers
        ),
    )


async def _runners(
    connection: Connection, keys: Keys, now_ms: int, beats: Iterable[tuple[str, float]]
) -> tuple[RunnerState, ...]:
    seen = {runner_id: max(now_ms - int(beat), 0) for runner_id, beat in beats}
    with connection.errors():
        async with connection.client.pipeline(transaction=False) as pipe:
            for runner_id in seen:
                pipe.hget(keys.runner(runner_id), "capacity")
                pipe.zscore(keys.runner_free, runner_id)
            replies = await pipe.execute()
    lease_ms = round(keys.lease_s * 1000)
    return tuple(
        RunnerState(
            runner_id, int(capacity or 0), max(int(free or 0), 0), age_ms, age_ms <= lease_ms
        )
        for (runner_id, age_ms), capacity, free in zip(
            seen.items(), replies[::2], replies[1::2], strict=True
        )
    )


def merged(shards: Sequence[Overview]) -> Overview:
    """Return the state of a plane of several shards: a runner's slots are spread over them."""
    runners: dict[str, RunnerState] = {}
    operators: dict[str, OperatorState] = {}
    for shard in shards:
        for runner in shard.runners:
            known = runners.get(runner.runner_id)
            runners[runner.runner_id] = runner if known is None else _both_runners(known, runner)
        for operator in shard.operators:
            other = operators.get(operator.name)
            operators[operator.name] = operator if other is None else _both(other, operator)
    return Overview(
        queued=sum(shard.queued for shard in shards),
        oldest_wait_s=max((shard.oldest_wait_s for shard in shards), default=0.0),
        live=sum(shard.live for shard in shards),
        overdue=sum(shard.overdue for shard in shards),
        dead_letters=sum(shard.dead_letters for shard in shards),
        runners=tuple(runners.values()),
        operators=tuple(operators.values()),
    )


def _both_runners(one: RunnerState, two: RunnerState) -> RunnerState:
    return RunnerState(
        one.runner_id,
        one.capacity + two.capacity,
        one.free + two.free,
        min(one.seen_ms, two.seen_ms),
        one.is_alive or two.is_alive,
    )


def _both(one: OperatorState, two: OperatorState) -> OperatorState:
    return OperatorState(
        one.name,
        min(one.seen_ms, two.seen_ms),
        one.is_alive or two.is_alive,
        one.pending + two.pending,
        max(one.cold_slots, two.cold_slots),
    )
