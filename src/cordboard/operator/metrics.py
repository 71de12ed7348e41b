"""What the operator counts for Prometheus."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

STAGES_S: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120)

assignments = Counter("cordboard_assignments", "Hand-overs by their kind.", ["kind"])
recoveries = Counter("cordboard_recoveries", "Sessions taken from dead runners.", ["outcome"])
expiries = Counter("cordboard_expiries", "Sessions that did not run by their deadline.")
queue_depth = Gauge("cordboard_queue_depth", "Accepted joins that wait for a runner.")
queue_age = Gauge("cordboard_queue_age_seconds", "How long the oldest of them has waited.")
sessions_live = Gauge("cordboard_sessions_live", "Sessions that have not ended.")
free_slots = Gauge("cordboard_free_slots", "Sessions that the warm runners could take now.")
suspects = Gauge("cordboard_sessions_suspect", "Sessions whose lease has run out.")
stages = Histogram(
    "cordboard_stage_seconds", "How long sessions stay in a stage.", ["stage"], buckets=STAGES_S
)
loop_lag = Gauge("cordboard_loop_lag_seconds", "How late the last sweep began.")
