"""The runner's metrics for Prometheus."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from cordboard.contract.state import REASONS

# Seconds. Starts take 5 ms to 10 s; the last three buckets are for the length of calls.
STAGE_BUCKETS: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60, 600, 3600)

sessions_live = Gauge("cordboard_runner_sessions", "Live sessions of this runner.")
free_slots = Gauge("cordboard_runner_free_slots", "Free slots of this runner.")
renewals_late = Counter("cordboard_lease_renewals_late", "Heartbeats that began a period late.")
loop_lag = Gauge("cordboard_runner_loop_lag_seconds", "How late the last heartbeat began.")
bot_lag = Gauge("cordboard_bot_loop_lag_seconds", "The highest lag of a bot's event loop.")
overloaded = Gauge(
    "cordboard_runner_overloaded", "1 while this runner cannot keep up with its calls."
)
stages = Histogram(
    "cordboard_runner_stage_seconds",
    "How long sessions stay in a stage.",
    ["stage"],
    buckets=STAGE_BUCKETS,
)
ends = Counter("cordboard_sessions_ended", "Sessions that ended here, by reason.", ["reason"])

# A series that begins at 1 has not increased for Prometheus: without zeros, the alarms would miss the first one.
for _stage in ("starting", "running"):
    stages.labels(_stage)
for _reason in REASONS:
    ends.labels(_reason)
