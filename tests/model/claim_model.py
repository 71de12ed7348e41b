"""A join over two shards as a state machine, and a checker that visits every reachable state.

There is one session id and three callers: two join rooms of shard 0, one a room of shard 1. Another session
may hold the room of the first caller. Each step is one command or script of ``store/sharding/joins.py``. A
caller that takes no further step has died or is frozen, so the checker visits every way to die between two
steps. The accept of a new claim may reach the store a second time, until ``LATE_S`` has passed.

The guarantees: the id is live in at most one room, and its entry in the index names the shard of that room.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

ROOM_SHARD: Final = (0, 0, 1)  # the shard of each caller's room
ENDS: Final = 1
TRIES: Final = 2  # claims that one caller may make


@dataclass(frozen=True)
class Rules:
    """The rules that the code follows. A test switches one off and must then find a broken guarantee."""

    marks_as_shared: bool = True
    """``share.lua``: a join that uses the claim of another one marks it."""
    releases_only_its_entry: bool = True
    """``release.lua``: only the entry as it was written is removed."""
    voids_refused_claims: bool = True
    """``accept.lua``: the claim of a refused join is void before its entry is removed."""
    refuses_retired_claims: bool = True
    """``accept.lua``: a join with a retired claim is refused."""
    retires_first: bool = True
    """``ShardedJoins.claim``: a claim is retired before its entry is replaced."""
    retires_no_live_id: bool = True
    """``retire.lua``: a claim is not retired while its session is live."""
    retires_before_moving_back: bool = True
    """``ShardedJoins._move_back``: the new claim is retired before the id is moved back."""
    moves_only_retired_claims: bool = True
    """``move.lua``: an entry that another gateway has replaced is left alone."""


@dataclass(frozen=True)
class Caller:
    """A join in progress.

    Attributes:
        at: The next step.
        claim: The claim with which it accepts; 0 if it has none.
        is_new: Whether the caller has made the claim itself.
        found: The shard and the claim of the entry in the index.
        moved_from: The shard from which it has moved the id, if any.
        tries: The number of claims that it may still make.
    """

    at: str = "claim"
    claim: int = 0
    is_new: bool = False
    found: tuple[int, int] = (0, 0)
    moved_from: int | None = None
    tries: int = TRIES


@dataclass(frozen=True)
class State:
    """The state of Redis and of all callers.

    Attributes:
        callers: The callers.
        entry: The shard, the claim, and whether it is shared; None if the id has no entry.
        void: Claims that are refused until ``LATE_S`` has passed.
        retired: Claims that are refused for good.
        live: The callers whose session is live.
        ended: The shards that have a record of an ended session with the id.
        again: The accepts that may arrive a second time: caller and claim.
        busy: Whether another session holds the room of the first caller.
        claims: The number of claims made.
        ends: The number of sessions that may still end.
    """

    callers: tuple[Caller, ...] = (Caller(), Caller(), Caller())
    entry: tuple[int, int, bool] | None = None
    void: frozenset[int] = frozenset()
    retired: frozenset[int] = frozenset()
    live: frozenset[int] = frozenset()
    ended: frozenset[int] = frozenset()
    again: frozenset[tuple[int, int]] = frozenset()
    busy: bool = True
    claims: int = 0
    ends: int = ENDS


def check(rules: Rules) -> tuple[int, list[State]]:
    """Visit every state; return their number, and the shortest way to a broken guarantee, if any."""
    start = State()
    previous: dict[State, State | None] = {start: None}
    waiting = deque([start])
    while waiting:
        state = waiting.popleft()
        if _is_broken(state):
            return len(previous), _way(previous, state)
        for following in _steps(rules, state):
            if following not in previous:
                previous[following] = state
                waiting.append(following)
    return len(previous), []


def _is_broken(state: State) -> bool:
    if len(state.live) > 1:
        return True
    return any(state.entry is None or state.entry[0] != ROOM_SHARD[one] for one in state.live)


def _way(previous: dict[State, State | None], state: State) -> list[State]:
    way: list[State] = []
    at: State | None = state
    while at is not None:
        way.append(at)
        at = previous[at]
    return way[::-1]


def _steps(rules: Rules, state: State) -> Iterator[State]:
    for number, caller in enumerate(state.callers):
        if caller.at != "done":
            yield from _STEPS[caller.at](rules, state, number, caller)
    for number, claim in state.again:  # it arrives late, and nobody reads the reply
        yield _accept(rules, state, number, claim)[0]
    for number in state.live:
        if state.ends:
            ended = state.ended | {ROOM_SHARD[number]}
            yield replace(state, live=state.live - {number}, ended=ended, ends=state.ends - 1)
    if state.busy:
        yield replace(state, busy=False)
    for claim in state.void:  # LATE_S has passed
        again = frozenset(one for one in state.again if one[1] != claim)
        yield replace(state, void=state.void - {claim}, again=again)


def _with(state: State, number: int, caller: Caller, **more: object) -> State:
    callers = (*state.callers[:number], caller, *state.callers[number + 1 :])
    return replace(state, callers=callers, **more)  # type: ignore[arg-type]


def _claim(_rules: Rules, state: State, number: int, caller: Caller) -> Iterator[State]:
    """``SET entry claim NX``."""
    if not caller.tries:
        yield _with(state, number, replace(caller, at="done"))
        return
    caller = replace(caller, tries=caller.tries - 1)
    if state.entry:
        yield _with(state, number, replace(caller, at="share"))
        return
    claim = state.claims + 1
    mine = replace(caller, at="accept", claim=claim, is_new=True)
    yield _with(state, number, mine, entry=(ROOM_SHARD[number], claim, False), claims=claim)


def _share(rules: Rules, state: State, number: int, caller: Caller) -> Iterator[State]:
    shard = ROOM_SHARD[number]
    if state.entry is None:
        claim = state.claims + 1
        mine = replace(caller, at="accept", claim=claim, is_new=False)
        yield _with(state, number, mine, entry=(shard, claim, True), claims=claim)
    elif state.entry[0] == shard and state.entry[1] != caller.claim:
        entry = (*state.entry[:2], state.entry[2] or rules.marks_as_shared)
        yield _with(
            state, number, replace(caller, at="accept", claim=entry[1], is_new=False), entry=entry
        )
    else:
        at = "retire" if rules.retires_first else "move"
        yield _with(state, number, replace(caller, at=at, found=state.entry[:2]))


def _accepting(rules: Rules, state: State, number: int, caller: Caller) -> Iterator[State]:
    after, answer = _accept(rules, state, number, caller.claim, is_new=caller.is_new)
    if caller.is_new:
        after = replace(after, again=after.again | {(number, caller.claim)})
    at = {"void": "release", "retired": "claim"}.get(answer, "done")
    if answer == "reused" and caller.moved_from is not None:
        at = "retire back" if rules.retires_before_moving_back else "move back"
    yield _with(after, number, replace(caller, at=at))


def _accept(
    rules: Rules, state: State, number: int, claim: int, *, is_new: bool = True
) -> tuple[State, str]:
    shard = ROOM_SHARD[number]
    here = {one for one in state.live if ROOM_SHARD[one] == shard}
    if (state.busy and number == 0) or number in here:
        if not is_new or here or shard in state.ended:
            return state, "reused"
        void = state.void | {claim} if rules.voids_refused_claims else state.void
        return replace(state, void=void), "void"
    if here:
        return state, "in_use"
    if rules.refuses_retired_claims and claim in state.void | state.retired:
        return state, "retired"
    return replace(state, live=state.live | {number}), "new"


def _release(rules: Rules, state: State, number: int, caller: Caller) -> Iterator[State]:
    mine = state.entry == (ROOM_SHARD[number], caller.claim, False)
    entry = None if mine or not rules.releases_only_its_entry else state.entry
    yield _with(state, number, replace(caller, at="done"), entry=entry)


def _retire(rules: Rules, state: State, number: int, caller: Caller) -> Iterator[State]:
    shard, claim = caller.found
    if rules.retires_no_live_id and any(ROOM_SHARD[one] == shard for one in state.live):
        yield _with(state, number, replace(caller, at="done"))
    else:
        yield _with(state, number, replace(caller, at="move"), retired=state.retired | {claim})


def _move(rules: Rules, state: State, number: int, caller: Caller) -> Iterator[State]:
    if state.entry and state.entry[1] != caller.found[1] and rules.moves_only_retired_claims:
        yield _with(state, number, replace(caller, at="claim"))
        return
    claim = state.claims + 1
    shard = ROOM_SHARD[number]
    moved = caller.found[0] if caller.found[0] != shard else None
    mine = replace(caller, at="accept", claim=claim, is_new=False, moved_from=moved)
    yield _with(state, number, mine, entry=(shard, claim, False), claims=claim)


def _retire_back(_rules: Rules, state: State, number: int, caller: Caller) -> Iterator[State]:
    """Retire the new claim of a refused join, unless the session is live there meanwhile."""
    if any(ROOM_SHARD[one] == ROOM_SHARD[number] for one in state.live):
        yield _with(state, number, replace(caller, at="done"))
    else:
        retired = state.retired | {caller.claim}
        yield _with(state, number, replace(caller, at="move back"), retired=retired)


def _move_back(_rules: Rules, state: State, number: int, caller: Caller) -> Iterator[State]:
    entry, claims = state.entry, state.claims
    if entry is None or entry[1] == caller.claim:
        claims += 1
        assert caller.moved_from is not None
        entry = (caller.moved_from, claims, False)
    yield _with(state, number, replace(caller, at="done"), entry=entry, claims=claims)


_STEPS: Final = {
    "claim": _claim,
    "share": _share,
    "accept": _accepting,
    "release": _release,
    "retire": _retire,
    "move": _move,
    "retire back": _retire_back,
    "move back": _move_back,
}
