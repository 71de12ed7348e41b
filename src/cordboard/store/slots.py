"""How a warm runner's slots are shared out over the shards: pure functions.

A runner belongs to every shard, with a share of its capacity in each; a slot is claimed within one
shard, by the one script that assigns. Only the runner moves free slots, and it lowers a share before it
raises another: so at no moment do the shards believe in more slots than there are.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Seen:
    """What a shard answered about one runner.

    Attributes:
        used: Slots that sessions of this shard hold.
        waiting: Joins of this shard that are on their way to a runner.
    """

    used: int
    waiting: int


def shares(
    capacity: int, seen: Sequence[Seen | None], held: Sequence[int], first: int
) -> list[int]:
    """Return each shard's share: what it uses, then what it waits for, then the rest evenly.

    Args:
        capacity: The runner's slots.
        seen: Each shard's answer; None where it does not answer.
        held: Each shard's share until now; where it does not answer it stays.
        first: The shard that gets one more when the rest is not even; another for each runner.
    """
    wanted = [share if one is None else one.used for one, share in zip(seen, held, strict=True)]
    order = [(first + step) % len(seen) for step in range(len(seen))]
    order = [number for number in order if seen[number] is not None]
    free = capacity - sum(wanted) if order else 0
    waits = {number: one.waiting for number, one in enumerate(seen) if one is not None}
    spare = dict.fromkeys(order, 0)
    while free > 0:
        number = min(order, key=lambda one: (spare[one] >= waits[one], spare[one]))
        spare[number] += 1
        free -= 1
    return [share + spare.get(number, 0) for number, share in enumerate(wanted)]


def are_ill_shared(seen: Sequence[tuple[int, int]]) -> bool:
    """Say, of each shard's free slots and waiting joins, whether one lacks what another can spare."""
    lacks = any(waiting and free <= 0 for free, waiting in seen)
    return lacks and any(free > waiting for free, waiting in seen)
