"""What the gateway counts for Prometheus."""

from prometheus_client import Counter

joins = Counter("cordboard_joins", "Joins by their result.", ["result"])
