"""The edge's metrics of streams."""

from prometheus_client import Counter, Gauge

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
