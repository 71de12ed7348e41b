"""What the runner counts for Prometheus."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

STARTS_S: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)

sessions_live = Gauge("cordboard_runner_sessions", "Sessions whose bot runs here.")
free_slots = Gauge("cordboard_runner_free_slots", "Sessions that this runner could take now.")
renewals_late = Counter("cordboard_lease_renewals_late", "Rounds of renewals that came late.")
loop_lag = Gauge("cordboard_runner_loop_lag_seconds", "How late the last round of renewals began.")
bot_lag = Gauge("cordboard_bot_loop_lag_seconds", "The worst lag of a bot's event loop.")
overloaded = Gauge("cordboard_runner_overloaded", "1 while it cannot keep up with its calls.")
stages = Histogram(
    "cordboard_runner_stage_seconds",
    "How long sessions stay in a stage.",
    ["stage"],
    buckets=(*STARTS_S, 60, 600, 3600),
)
ends = Counter("cordboard_sessions_ended", "Sessions that ended here, by reason.", ["reason"])
