"""What the operator counts for Prometheus."""

from prometheus_client import Counter, Gauge

assignments = Counter("cordboard_assignments", "Hand-overs by their kind.", ["kind"])
recoveries = Counter("cordboard_recoveries", "Sessions taken from dead runners.", ["outcome"])
expiries = Counter("cordboard_expiries", "Sessions that did not run by their deadline.")
queue_depth = Gauge("cordboard_queue_depth", "Accepted joins that wait for a runner.")
