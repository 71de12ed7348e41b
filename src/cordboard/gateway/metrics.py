"""The gateway's metrics."""

from typing import Final

from prometheus_client import Counter, Histogram

_RESULTS: Final = (
    "accepted",
    "reused",
    "queue_full",
    "store_unavailable",
    "store_forbidden",
    "not_ready",
    "internal_error",
)
"""Those that the dashboard and the alarms ask for. Other refusals are faults of callers."""

joins = Counter("cordboard_joins", "Joins by their result.", ["result"])
accepts = Histogram(
    "cordboard_accept_seconds",
    "How long the store takes to decide on a join.",
    # The large ones are joins that wait for the room's last bot to leave, at most ten seconds.
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5, 10),
)

# A series that begins at 1 has not increased for Prometheus: without zeros, the alarms would miss the first one.
for _result in _RESULTS:
    joins.labels(_result)
