"""What the gateway counts for Prometheus."""

from prometheus_client import Counter, Histogram

joins = Counter("cordboard_joins", "Joins by their result.", ["result"])
accepts = Histogram(
    "cordboard_accept_seconds",
    "How long the store takes to decide a join.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5, 10),
)
