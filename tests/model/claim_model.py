"""A join over two shards as a small machine, for a checker that visits every state it can reach.

One id, three callers: two join rooms of shard 0, one a room of shard 1; another session may hold the
first one's room. Each step is one command or script of ``store/shards.py``. A caller that is never
chosen again has died or is frozen, so every way to die between two steps is among those visited. An
accept of a claim's maker may reach the store a second time, until ``LATE_S`` has passed.

The promises: the id lives once, and where its entry of the index says; it is kept from no free room.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

ROOM_SHARD: Final = (0, 0, 1)  # of each caller's room
ENDS: Final = 1
TRIES: Final = 2  # claims that one caller makes


@dataclass(frozen=True)
class Rules:
    """What the code does; a test turns one off and must then find a broken promise."""

    marks_as_shared: bool = True
    """``share.lua``: who goes by another's claim says so."""
    releases_its_own: bool = True
    """``release.lua``: only the entry as it was written is taken away."""
    voids_what_is_refused: bool = True
    """``accept.lua``: a refused claim is void before its entry is taken away."""
    refuses_retired: bool = True
    """``accept.lua``: nothing is accepted by a claim that was retired."""
    retires_first: bool = True
    """``ShardedStore._claim``: a claim is retired for good before its entry is exchanged."""
    retires_no_live_id: bool = True
    """``retire.lua``: not while the id lives there."""
    retires_before_moving_back: bool = True
    """``ShardedStore._move_back``: so does who gives an id back that it has moved for nothing."""
    moves_what_it_retired: bool = True
    """``move.lua``: not when somebody else has moved the id meanwhile."""


@dataclass(frozen=True)
class Caller:
    """One join under way.

    Attributes:
        at: Its next step.
        claim: The claim by which it accepts; 0 for none.
        found: The shard and the claim that it has found elsewhere.
        came_from: The shard from which it has moved the id, if it has.
        tries: Claims that it may still make.
    """

    at: str = "claim"
    claim: int = 0
    fresh: bool = False
    found: tuple[int, int] = (0, 0)
    came_from: int | None = None
    tries: int = TRIES


@dataclass(frozen=True)
class State:
    """All that is known anywhere.

    Attributes:
        entry: The shard, the claim, and whether it is shared; None where the id has no entry.
        void: Claims by which nothing is accepted, for a while.
        retired: Claims by which nothing is ever accepted.
        live: The callers whose session lives.
        ended: Shards that have a record of the id from before.
        again: Accepts that may be delivered a second time: caller and claim.
        busy: Whether another session holds the first room.
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
    """Visit all states; return their number, and the way to a broken promise, if there is one."""
    start = State()
    came_from: dict[State, State | None] = {start: None}
    waiting = deque([start])
    while waiting:
        state = waiting.popleft()
        if _is_broken(state):
            return len(came_from), _way(came_from, state)
        for following in _steps(rules, state):
            if following not in came_from:
                came_from[following] = state
                waiting.append(following)
    return len(came_from), []


def _is_broken(state: State) -> bool:
    if len(state.live) > 1:
        return True
    return any(state.entry is None or state.entry[0] != ROOM_SHARD[one] for one in state.live)


def _way(came_from: dict[State, State | None], state: State) -> list[State]:
    way: list[State] = []
    at: State | None = state
    while at is not None:
        way.append(at)
        at = came_from[at]
    return way[::-1]


def _steps(rules: Rules, state: State) -> Iterator[State]:
    for number, caller in enumerate(state.callers):
        if caller.at != "done":
            yield from _STEPS[caller.at](rules, state, number, caller)
    for number, claim in state.again:  # delivered late; nobody hears the answer
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
    mine = replace(caller, at="accept", claim=claim, fresh=True)
    yield _with(state, number, mine, entry=(ROOM_SHARD[number], claim, False), claims=claim)


def _share(rules: Rules, state: State, number: int, caller: Caller) -> Iterator[State]:
    shard = ROOM_SHARD[number]
    if state.entry is None:
        claim = state.claims + 1
        mine = replace(caller, at="accept", claim=claim, fresh=False)
        yield _with(state, number, mine, entry=(shard, claim, True), claims=claim)
    elif state.entry[0] == shard and state.entry[1] != caller.claim:
        entry = (*state.entry[:2], state.entry[2] or rules.marks_as_shared)
        yield _with(
            state, number, replace(caller, at="accept", claim=entry[1], fresh=False), entry=entry
        )
    else:
        at = "retire" if rules.retires_first else "move"
        yield _with(state, number, replace(caller, at=at, found=state.entry[:2]))


def _accepting(rules: Rules, state: State, number: int, caller: Caller) -> Iterator[State]:
    after, answer = _accept(rules, state, number, caller.claim, fresh=caller.fresh)
    if caller.fresh:
        after = replace(after, again=after.again | {(number, caller.claim)})
    at = {"void": "release", "retired": "claim"}.get(answer, "done")
    if answer == "reused" and caller.came_from is not None:
        at = "retire back" if rules.retires_before_moving_back else "move back"
    yield _with(after, number, replace(caller, at=at))


def _accept(
    rules: Rules, state: State, number: int, claim: int, *, fresh: bool = True
) -> tuple[State, str]:
    shard = ROOM_SHARD[number]
    here = {one for one in state.live if ROOM_SHARD[one] == shard}
    if (state.busy and number == 0) or number in here:
        if not fresh or here or shard in state.ended:
            return state, "reused"
        void = state.void | {claim} if rules.voids_what_is_refused else state.void
        return replace(state, void=void), "void"
    if here:
        return state, "in_use"
    if rules.refuses_retired and claim in state.void | state.retired:
        return state, "retired"
    return replace(state, live=state.live | {number}), "new"


def _release(rules: Rules, state: State, number: int, caller: Caller) -> Iterator[State]:
    mine = state.entry == (ROOM_SHARD[number], caller.claim, False)
    entry = None if mine or not rules.releases_its_own else state.entry
    yield _with(state, number, replace(caller, at="done"), entry=entry)


def _retire(rules: Rules, state: State, number: int, caller: Caller) -> Iterator[State]:
    shard, claim = caller.found
    if rules.retires_no_live_id and any(ROOM_SHARD[one] == shard for one in state.live):
        yield _with(state, number, replace(caller, at="done"))
    else:
        yield _with(state, number, replace(caller, at="move"), retired=state.retired | {claim})


def _move(rules: Rules, state: State, number: int, caller: Caller) -> Iterator[State]:
    if state.entry and state.entry[1] != caller.found[1] and rules.moves_what_it_retired:
        yield _with(state, number, replace(caller, at="claim"))
        return
    claim = state.claims + 1
    shard = ROOM_SHARD[number]
    moved = caller.found[0] if caller.found[0] != shard else None
    mine = replace(caller, at="accept", claim=claim, fresh=False, came_from=moved)
    yield _with(state, number, mine, entry=(shard, claim, False), claims=claim)


def _retire_back(_rules: Rules, state: State, number: int, caller: Caller) -> Iterator[State]:
    """An id that was moved for nothing: its new claim is retired, unless it lives there by now."""
    if any(ROOM_SHARD[one] == ROOM_SHARD[number] for one in state.live):
        yield _with(state, number, replace(caller, at="done"))
    else:
        retired = state.retired | {caller.claim}
        yield _with(state, number, replace(caller, at="move back"), retired=retired)


def _move_back(_rules: Rules, state: State, number: int, caller: Caller) -> Iterator[State]:
    entry, claims = state.entry, state.claims
    if entry is None or entry[1] == caller.claim:
        claims += 1
        assert caller.came_from is not None
        entry = (caller.came_from, claims, False)
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
