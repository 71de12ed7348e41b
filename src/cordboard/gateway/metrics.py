"""The gateway's metrics."""

from prometheus_client import Counter, Histogram

joins = Counter("cordboard_joins", "Joins by their result.", ["result"])
accepts = Histogram(
    "cordboard_accept_seconds",
    "How long the store takes to decide on a join.",
    # The large ones are joins that wait for the room's last bot to leave, at most ten seconds.
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5, 10),
)
