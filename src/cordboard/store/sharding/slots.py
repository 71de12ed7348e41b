"""How a warm runner's slots are shared out over the shards: pure functions.

A runner has a share of its capacity in each shard; a slot is claimed within one shard, by the one
script that assigns. Only the runner moves free slots, and it lowers a share before it raises another: so
at no moment do the shards believe in more slots than there are.

Where runners are few, each offers slots to every shard. Where they are many, each is at home in some,
and beats there alone: else the beats would grow with runners times shards.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

ENOUGH: Final = 64  # runners that offer slots to one shard, while no joins wait elsewhere
LOOKS_A_SECOND: Final = 200.0  # of all runners together, for joins that wait in other shards


@dataclass(frozen=True, slots=True)
class Seen:
    """What a shard answered about one runner.

    Attributes:
        used: Slots that sessions of this shard hold.
        waiting: Joins of this shard that are on their way to a runner.
        runners: Runners that offer slots to it.
    """

    used: int
    waiting: int
    runners: int = 0


def homes(shards: int, runners: int, first: int) -> frozenset[int]:
    """Return the shards in which a runner is at home, of so many runners in all."""
    count = min(shards, max(1, -(-ENOUGH * shards // max(runners, 1))))
    return frozenset((first + step) % shards for step in range(count))


def shares(
    capacity: int,
    seen: Sequence[Seen | None],
    held: Sequence[int],
    first: int,
    at_home: Collection[int] | None = None,
) -> list[int]:
    """Return each shard's share: what it uses, then what it waits for, then the rest evenly at home.

    Args:
        capacity: The runner's slots.
        seen: Each shard's answer; None where it does not answer.
        held: Each shard's share until now; where it does not answer, or was not asked, it stays.
        first: The shard that gets one more when the rest is not even; another for each runner.
        at_home: The shards that get the rest; by default all.
    """
    home = range(len(seen)) if at_home is None else at_home
    wanted = [share if one is None else one.used for one, share in zip(seen, held, strict=True)]
    order = [(first + step) % len(seen) for step in range(len(seen))]
    order = [number for number in order if seen[number] is not None]
    free = capacity - sum(wanted) if order else 0
    waits = {number: one.waiting for number, one in enumerate(seen) if one is not None}
    spare = dict.fromkeys(order, 0)
    while free > 0:
        able = [one for one in order if one in home or spare[one] < waits[one]]
        if not able:
            break
        number = min(able, key=lambda one: (spare[one] >= waits[one], spare[one]))
        spare[number] += 1
        free -= 1
    return [share + spare.get(number, 0) for number, share in enumerate(wanted)]


def are_ill_shared(seen: Sequence[tuple[int, int]]) -> bool:
    """Say, of each shard's free slots and waiting joins, whether one lacks what another can spare."""
    lacks = any(waiting and free <= 0 for free, waiting in seen)
    return lacks and any(free > waiting for free, waiting in seen)
