"""How a warm runner divides its slots among the shards: pure functions.

A runner has a share of its capacity in each shard, and a shard assigns sessions within that share. Only
the runner moves free slots between shards, and it lowers one share before it raises another. So the shards
never assume more slots than there are.

While there are few runners, each offers slots in every shard. With many runners, each has home shards and
sends heartbeats to those alone; otherwise the number of heartbeats would be runners times shards.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

# Runners that have their home in one shard. With fewer a shard may lack slots that another shard has
# free; with more each shard receives more heartbeats.
RUNNERS_PER_SHARD: Final = 64
# Looks at the load of other shards by all runners together, so that they cost the same for any number.
LOOKS_PER_S: Final = 200.0


@dataclass(frozen=True, slots=True)
class ShardLoad:
    """What a shard replied to the registration of one runner.

    Attributes:
        used: The runner's slots that sessions of this shard use.
        waiting: The launches in the queue of this shard.
        runners: The runners that offer slots in this shard.
    """

    used: int
    waiting: int
    runners: int = 0


def home_shards(
    shards: int, runners: int, first: int, per_shard: int = RUNNERS_PER_SHARD
) -> frozenset[int]:
    """Return the home shards of one runner.

    Args:
        shards: The number of shards.
        runners: The number of runners of the plane.
        first: The first home shard of this runner.
        per_shard: The number of runners that have their home in one shard.
    """
    count = min(shards, max(1, -(-per_shard * shards // max(runners, 1))))
    return frozenset((first + step) % shards for step in range(count))


def slot_shares(
    capacity: int,
    loads: Sequence[ShardLoad | None],
    shares: Sequence[int],
    first: int,
    home: Collection[int] | None = None,
) -> list[int]:
    """Return the share of each shard: its used slots, then one for each waiting launch, then the rest.

    Args:
        capacity: The runner's number of slots.
        loads: The reply of each shard; None if it did not reply or was not asked.
        shares: The present share of each shard. A shard without a reply keeps it.
        first: The shard that gets one slot more if the rest is not even; it differs among runners.
        home: The shards that divide the rest evenly; by default all.
    """
    home = range(len(loads)) if home is None else home
    base = [share if load is None else load.used for load, share in zip(loads, shares, strict=True)]
    order = [(first + step) % len(loads) for step in range(len(loads))]
    order = [number for number in order if loads[number] is not None]
    free = capacity - sum(base) if order else 0
    waiting = {number: load.waiting for number, load in enumerate(loads) if load is not None}
    spare = dict.fromkeys(order, 0)
    while free > 0:
        eligible = [shard for shard in order if shard in home or spare[shard] < waiting[shard]]
        if not eligible:
            break
        # Shards that wait for a slot first; among equals the one with the fewest spare slots.
        number = min(eligible, key=lambda shard: (spare[shard] >= waiting[shard], spare[shard]))
        spare[number] += 1
        free -= 1
    return [share + spare.get(number, 0) for number, share in enumerate(base)]


def is_unbalanced(loads: Sequence[tuple[int, int]]) -> bool:
    """Return whether one shard lacks slots that another one can spare.

    Args:
        loads: The free slots and the waiting launches of each shard.
    """
    has_shortage = any(waiting and free <= 0 for free, waiting in loads)
    return has_shortage and any(free > waiting for free, waiting in loads)
