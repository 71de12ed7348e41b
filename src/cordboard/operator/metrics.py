"""The operator's Prometheus metrics."""

import contextlib
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import REGISTRY, Counter, Gauge, Histogram

# From a hand-over on one machine (a few milliseconds) to twice the default deadline of a join.
STAGES_S: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120)

assignments = Counter("cordboard_assignments", "Hand-overs by their kind.", ["kind"])
recoveries = Counter(
    "cordboard_recoveries", "Recoveries of sessions of dead runners, by outcome.", ["outcome"]
)
expiries = Counter("cordboard_expiries", "Sessions that did not run by their deadline.")
queue_depth = Gauge("cordboard_queue_depth", "Accepted joins that wait for a runner.")
queue_age = Gauge("cordboard_queue_age_seconds", "How long the oldest queued join has waited.")
sessions_live = Gauge("cordboard_sessions_live", "Sessions that have not ended.")
free_slots = Gauge("cordboard_free_slots", "Sessions that the warm runners could take now.")
slots_wanted = Gauge(
    "cordboard_slots_wanted",
    "Slots that the plane wants: one for each session that has not ended, and headroom_slots.",
    registry=None,  # until its value is known: an autoscaler must not see 0 while this operator starts
)
suspects = Gauge("cordboard_sessions_suspect", "Sessions whose lease has run out.")
stages = Histogram(
    "cordboard_stage_seconds", "How long sessions stay in a stage.", ["stage"], buckets=STAGES_S
)
loop_lag = Gauge("cordboard_loop_lag_seconds", "How late the last sweep began.")

# A series that begins at 1 has not increased for Prometheus: without zeros, the alarms would miss the first one.
for _kind in ("warm", "cold", "failed"):
    assignments.labels(_kind)
for _outcome in ("queued", "failed", "held", "gone"):
    recoveries.labels(_outcome)
stages.labels("queued")


@dataclass(frozen=True, slots=True)
class ShardFigures:
    """What one shard held at its last sweep.

    Attributes:
        queue_depth: Joins that wait for a runner.
        queue_age_s: Seconds for which the oldest of them has waited.
        live: Sessions that have not ended.
        free_slots: Free slots of warm runners.
        suspects: Sessions whose lease has run out.
    """

    queue_depth: int = 0
    queue_age_s: float = 0.0
    live: int = 0
    free_slots: int = 0
    suspects: int = 0


@dataclass(slots=True)
class PlaneFigures:
    """What the shards held at their last sweeps; sets the gauges to their totals.

    Attributes:
        shards: The number of shards.
        headroom_slots: The free slots that are wanted in addition to those of the sessions.
    """

    shards: int = 1
    headroom_slots: int = 0
    _by_tag: dict[str, ShardFigures] = field(default_factory=dict)

    def update(self, tag: str, figures: ShardFigures) -> None:
        """Record the figures of a shard, and set the gauges.

        Args:
            tag: The tag of the shard.
            figures: What it holds.
        """
        self._by_tag[tag] = figures
        known = self._by_tag.values()
        live = sum(shard.live for shard in known)
        queue_depth.set(sum(shard.queue_depth for shard in known))
        queue_age.set(max(shard.queue_age_s for shard in known))
        sessions_live.set(live)
        free_slots.set(sum(shard.free_slots for shard in known))
        suspects.set(sum(shard.suspects for shard in known))
        if len(known) == self.shards:
            slots_wanted.set(live + self.headroom_slots)
            with contextlib.suppress(ValueError):  # it is registered already
                REGISTRY.register(slots_wanted)
