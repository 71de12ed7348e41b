"""Settings of runners, and the limits on bots."""

from dataclasses import dataclass

from cordboard.contract.call_events import Content
from cordboard.settings.kinds import AutoOrOff, Limit, Positive


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class RunnerSettings:
    """How many sessions a runner takes, when it ends them, and what a bot process may use."""

    runner_capacity: Positive = 4
    """Sessions that one warm runner hosts at once. Four sessions with speech use less than half of
    two cores."""

    overload_lag_ms: Limit = 20
    """Average lag of the event loops over 10 s, in milliseconds, at which a runner with busy
    processors accepts no new sessions until it keeps up again. 20 is one frame of audio. 0 turns
    this off."""

    offer_timeout_s: Positive = 60
    """Seconds that a bot waits for the first offer in a webrtc: room, or for its stream in a phone:
    or ws: room; then the session ends with the reason user_absent. All runners must have the same
    number."""

    user_absent_s: Limit = 60
    """Seconds without a connected caller after which a session in a webrtc:, phone: or ws: room
    ends with the reason user_absent, whatever its bot does. 60 s gives a page time to reconnect. 0 leaves this to
    the bot. Set a higher value for a bot that continues to work after the call."""

    bot_memory_mb: Positive = 4096
    """Megabytes of data that one bot process may hold, so that a bot that leaks fails alone; a bot
    over WebRTC with voice detection holds about 200. The limit applies to each process that a bot
    starts as well."""

    bot_file_mb: Positive = 4096
    """Megabytes that one file written by a bot may have, so that a bot that writes without end does
    not fill the disk at once. A stereo recording of the longest session (4 hours of 16 bits at 48
    kHz) takes 2800 MB."""

    bot_processes: Positive = 64
    """Processes that one bot may have running at a time; a bot with more is killed, and its session
    ends with the reason bot_crashed. A browser that a bot controls has about 20."""

    bot_landlock: AutoOrOff = "auto"
    """`auto` confines bots with Landlock where the kernel supports it (Linux 5.19): a bot can
    inspect only its own processes and, from Linux 6.12 on, send signals only to them. `off` is for
    bots that need setuid programs such as sudo."""

    bot_arguments: str = ""
    """Arguments of the bot files, as in a shell; a bot file gets them as `runner_args.cli_args`, parsed
    by the parser that it passes to Pipecat's main()."""

    pipeline_metrics: bool = True
    """Whether the bots' pipelines measure their services (Pipecat's `enable_metrics` and `enable_usage_metrics`), which
    the parts of a turn's latency and the usage of services need. `false` leaves both to the bot."""

    content: Content = "off"
    """What the log may contain of what was said in a call: `off` nothing, `words` also the words of user and bot and
    the texts of errors, `all` also the arguments and results of tools. The people in the call must agree to more than
    `off`."""

    build_image: str = ""
    """The digest of the image that a runner runs in, such as sha256:4f5e..., if its deployment knows it. It becomes
    part of `build` in the session's record."""

    daily_domains: tuple[str, ...] = ()
    """Hosts besides *.daily.co that serve rooms of Daily; separated by commas in the
    environment."""
