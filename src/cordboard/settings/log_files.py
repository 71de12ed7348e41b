"""Settings of the log files that ``cordboard up`` writes."""

from dataclasses import dataclass

from cordboard.settings.kinds import Positive


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class LogFileSettings:
    """Where the log files are, and how large they become."""

    log_dir: str | None = None
    """The folder into which `up` writes all lines and from which `logs --local` reads; by default
    $XDG_STATE_HOME/cordboard/logs/local."""

    log_file_max_mb: Positive = 64
    """Megabytes after which `up` rotates a log file. 64 MB holds about a day of ten busy rooms."""

    log_files_kept: Positive = 5
    """Rotated files that `up` keeps per component; older ones are deleted."""
