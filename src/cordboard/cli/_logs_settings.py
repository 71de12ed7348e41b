"""The settings of `cordboard logs`, without the cost of loading all settings where none is set."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from cordboard.environment import LOG_DIR, config_path, default_log_folder, unchecked_settings

if TYPE_CHECKING:
    from pathlib import Path


class LogSettings(NamedTuple):
    """The settings that a query needs.

    Attributes:
        log_folder: The folder of the local log files.
        environments: The table ``[environments]``: log sources by environment.
        formats: The table ``[logs]``: formats of foreign log lines.
        config_file: The file that was read; None if there was none.
    """

    log_folder: str
    environments: Mapping[str, Any]
    formats: Mapping[str, Any]
    config_file: "Path | None"


def load_log_settings(config_file: str | None) -> LogSettings:
    """Return the settings of a query.

    Without a settings file and without variables to check there is nothing to validate; skipping
    ``cordboard.settings`` then saves 40 ms (dataclasses, tomllib and msgspec), a third of a short query.

    Args:
        config_file: The file that the user named; None for ``cordboard.toml`` in the working directory.

    Raises:
        SettingsError: A setting is unknown or invalid, or the file cannot be read.
    """
    if config_path(config_file) is None and not unchecked_settings():
        folder = os.environ.get(LOG_DIR) or default_log_folder()
        return LogSettings(folder, {}, {}, None)
    from cordboard.settings import load

    settings = load(config_file)
    return LogSettings(
        settings.log_folder, settings.environments, settings.logs, settings.config_file
    )
