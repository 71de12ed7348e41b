"""A carrier's account, from ``[phone.CARRIER]`` and the environment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import environ

from cordboard.settings.phone import CarrierAccount


@dataclass(frozen=True, slots=True)
class Credentials:
    """The account at one carrier, with the variables that are read for settings missing in ``cordboard.toml``.

    Attributes:
        account: The table ``[phone.CARRIER]``.
        variables: Variables by setting: those that the carrier's own libraries, and Pipecat's, read.
    """

    account: CarrierAccount
    variables: Mapping[str, str] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """Return the value of a setting that is no secret, such as ``account``; empty if it has none."""
        value: str | None = getattr(self.account, name)
        return value or environ.get(self.variables.get(name, ""), "")

    def secrets(self, name: str) -> tuple[str, ...]:
        """Return the current values of a secret, such as ``auth_token``; none if it is not set.

        Raises:
            SettingsError: The secret's file has none when it is read for the first time.
        """
        return self.account.secrets(name, variable=self.variables.get(name, ""))

    def secret(self, name: str) -> str:
        """Return the current value of a secret; empty if it is not set.

        Raises:
            SettingsError: The secret's file has none when it is read for the first time.
        """
        return next(iter(self.secrets(name)), "")
