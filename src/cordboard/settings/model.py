"""`Settings`: all settings of a process, as `load` read them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cordboard.contract.cells import Cell
from cordboard.contract.ice import ice_config
from cordboard.environment import (
    CONTROL_SECRET,
    CONTROL_SECRET_PREV,
    LOGIN_SECRET,
    OIDC_SECRET,
    SCRAPE_SECRET,
    SESSION_SECRET,
    SESSION_SECRET_PREV,
    TURN_SECRET,
    default_log_folder,
    state_dir,
)
from cordboard.settings.bots import BotPolicy
from cordboard.settings.cells import CellSettings
from cordboard.settings.edge import EdgeSettings
from cordboard.settings.gateway import GatewaySettings
from cordboard.settings.ice import IceSettings
from cordboard.settings.interface import InterfaceSettings
from cordboard.settings.log_files import LogFileSettings
from cordboard.settings.network import NetworkSettings
from cordboard.settings.oidc import OidcSettings
from cordboard.settings.operator import KubernetesSettings, OperatorSettings
from cordboard.settings.phone import PhoneSettings
from cordboard.settings.room_services import RoomServiceSettings
from cordboard.settings.runner import RunnerSettings
from cordboard.settings.secrets import read_secret
from cordboard.settings.store import StoreSettings

DEFAULT_REDIS_URL: Final = "redis://127.0.0.1:6379/0"

SECTIONS: Final = (
    StoreSettings,
    GatewaySettings,
    OperatorSettings,
    RunnerSettings,
    KubernetesSettings,
    InterfaceSettings,
    OidcSettings,
    IceSettings,
    EdgeSettings,
    RoomServiceSettings,
    NetworkSettings,
    CellSettings,
    LogFileSettings,
)
"""The classes that declare settings, in the order of the documentation."""


@dataclass(frozen=True, kw_only=True, repr=False)  # the URL of Redis may hold a password
class Settings(
    StoreSettings,
    GatewaySettings,
    OperatorSettings,
    RunnerSettings,
    KubernetesSettings,
    InterfaceSettings,
    OidcSettings,
    IceSettings,
    EdgeSettings,
    RoomServiceSettings,
    NetworkSettings,
    CellSettings,
    LogFileSettings,
):
    """The settings of a process; the sections declare them, with their documentation.

    Attributes:
        bots: The bot files by bot name: ``[bots]``.
        bot_policies: What ``[bots]`` says about the bots beside their files, by bot name.
        environments: The log sources by environment: ``[environments]``.
        logs: The formats of foreign log lines: ``[logs]``.
        phone: Telephone numbers and carriers: ``[phone]``.
        cells: The addresses of all cells by name: ``[cells]``.
        prices: What models and services of bots cost, for reports: ``[prices]``.
        config_file: The file that was read; None if there was none.
        from_file: The names of the settings whose values come from that file.
    """

    bots: Mapping[str, str] = field(default_factory=dict)
    bot_policies: Mapping[str, BotPolicy] = field(default_factory=dict)
    environments: Mapping[str, Any] = field(default_factory=dict)
    logs: Mapping[str, Any] = field(default_factory=dict)
    phone: PhoneSettings = field(default_factory=PhoneSettings)
    cells: Mapping[str, Cell] = field(default_factory=dict)
    prices: Mapping[str, Any] = field(default_factory=dict)
    config_file: Path | None = None
    from_file: frozenset[str] = frozenset()

    @property
    def state_dir(self) -> Path:
        """The private folder of ``cordboard up`` on this machine."""
        return state_dir()

    @property
    def log_folder(self) -> str:
        """The folder of the local log files, as text."""
        return self.log_dir or default_log_folder()

    @property
    def log_path(self) -> Path:
        """The folder of the local log files."""
        return Path(self.log_folder)

    @property
    def redis_url_or_default(self) -> str:
        """The URL of Redis for components that are started one by one."""
        return self.redis_url or DEFAULT_REDIS_URL

    @property
    def record_kept_s(self) -> int:
        """Seconds for which a session's record is kept after its end."""
        return self.record_kept_hours * 3600

    @property
    def control_secrets(self) -> tuple[str, ...]:
        """The current control secret and its predecessor; files are read again at each access."""
        return _read_existing(CONTROL_SECRET, CONTROL_SECRET_PREV)

    @property
    def session_secret(self) -> str | None:
        """The secret that signs the interface's login cookie; None if unset."""
        return read_secret(SESSION_SECRET)

    @property
    def session_secrets(self) -> tuple[str, ...]:
        """That secret and its predecessor, whose cookies are still valid. The first one signs."""
        return _read_existing(SESSION_SECRET, SESSION_SECRET_PREV)

    @property
    def interface_login_secret(self) -> str | None:
        """The secret that a proxy sends so that its user names are trusted; None if unset."""
        return read_secret(LOGIN_SECRET)

    @property
    def oidc_client_secret(self) -> str | None:
        """The secret of the interface at the identity provider; None if unset."""
        return read_secret(OIDC_SECRET)

    @property
    def scrape_secrets(self) -> tuple[str, ...]:
        """The secret that a monitoring system sends to read the metrics; none if unset."""
        return _read_existing(SCRAPE_SECRET)

    @property
    def turn_secret(self) -> str | None:
        """The secret of the TURN servers, from which credentials are derived; None if unset."""
        return read_secret(TURN_SECRET)

    def ice_config(
        self, session_id: str, now: float, *, lifetime_s: int | None = None
    ) -> dict[str, Any] | None:
        """Return the ICE servers for one session, with new credentials; None without servers.

        Args:
            session_id: The session.
            now: Seconds since 1970.
            lifetime_s: Seconds for which the credentials are valid; None for ``turn_credentials_s``.

        Returns:
            The part of a browser's ``RTCConfiguration`` that `contract.ice.ice_config` describes. It
            contains secrets.

        Raises:
            SettingsError: A TURN server has no credentials, and there is no secret to derive some.
        """
        return ice_config(
            self.ice_servers,
            session_id,
            expires_at=int(now) + (lifetime_s or self.turn_credentials_s),
            secret=self.turn_secret,
            policy=self.ice_transport_policy,
        )


def _read_existing(*names: str) -> tuple[str, ...]:
    return tuple(secret for secret in map(read_secret, names) if secret)
