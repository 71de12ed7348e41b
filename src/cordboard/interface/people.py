"""The people who use the interface, and their roles."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from cordboard.contract.errors import SettingsError
from cordboard.settings import Settings

Role = Literal["caller", "operator"]
"""``caller``: sees and ends the own sessions. ``operator``: sees and ends all of them, with their logs."""


@dataclass(frozen=True, slots=True)
class Person:
    """A person who is signed in.

    Attributes:
        user_id: The id under which the sessions of the person are recorded.
        name: The name that pages show.
        role: What the person may see and do.
    """

    user_id: str
    name: str
    role: Role = "caller"

    @property
    def is_operator(self) -> bool:
        """Whether the person may see the sessions of all people."""
        return self.role == "operator"


class Roles:
    """Decides the role of a person from the settings.

    Args:
        settings: ``interface_operators`` and ``interface_operator_groups``.
    """

    def __init__(self, settings: Settings) -> None:
        self._operators: Final = frozenset(settings.interface_operators)
        self._groups: Final = frozenset(settings.interface_operator_groups)

    def operator_groups(self, groups: Iterable[str]) -> tuple[str, ...]:
        """Return those of `groups` whose members are operators: a login has to remember no others."""
        return tuple(sorted(self._groups.intersection(groups)))

    def role_of(self, account: str, groups: Iterable[str] = ()) -> Role:
        """Return the role of a person.

        Args:
            account: What identifies the person where people sign in.
            groups: The groups of the person there.
        """
        if account in self._operators or self._groups.intersection(groups):
            return "operator"
        return "caller"


def refuse_groups(settings: Settings) -> None:
    """Refuse groups of operators in `settings` whose login is by name.

    Raises:
        SettingsError: ``interface_operator_groups`` is set; a login by name has no groups.
    """
    if settings.interface_operator_groups:
        raise SettingsError(
            "interface_operator_groups: a login by name has no groups.",
            hint="List names in CORDBOARD_INTERFACE_OPERATORS, or set CORDBOARD_INTERFACE_LOGIN to oidc or header.",
        )
