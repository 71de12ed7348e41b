"""The edge's metrics of streams."""

from prometheus_client import Counter, Gauge, Histogram

streams_open = Gauge("cordboard_streams_open", "WebSockets that this edge serves now.")
streams_closed = Counter(
    "cordboard_streams_closed", "Streams that ended, by the side that ended them.", ["by"]
)
stream_messages = Counter(
    "cordboard_stream_messages",
    "Messages that the edge copied, by the side that sent them.",
    ["sender"],
)
stream_bytes = Counter("cordboard_stream_bytes", "The size of these messages.", ["sender"])
streams_slowed = Counter(
    "cordboard_streams_slowed",
    "Streams of which a side sent too fast, and was read more slowly, by that side.",
    ["sender"],
)
stream_unreadable = Counter(
    "cordboard_stream_unreadable",
    "Messages of carriers that their bot could not have read; the edge dropped them.",
)
streams_lost = Counter(
    "cordboard_streams_lost", "Calls whose bot was lost; the edge kept the carrier's stream."
)
streams_resumed = Counter(
    "cordboard_streams_resumed",
    "Calls that went on, by what had died: a runner or an edge.",
    ["died"],
)
stream_gap = Histogram(
    "cordboard_stream_gap_seconds",
    "From the loss of a call's bot until the first message of the next one.",
    buckets=(0.25, 0.5, 1, 1.5, 2, 3, 5, 10, 20, 60, 120),
)

# A series that begins at 1 has not increased for Prometheus: without zeros, the alarms would miss the first one.
for _died in ("runner", "edge", "connection"):
    streams_resumed.labels(_died)
