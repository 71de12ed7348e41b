"""The account of a person, from the claims of the identity provider."""

from collections.abc import Mapping
from typing import Any, Final

from cordboard.contract.errors import InvalidValueError
from cordboard.interface.login import NAME_MAX_CHARS, Account, check_name
from cordboard.interface.oidc.errors import ProviderInvalidError, SignInRefusedError
from cordboard.interface.people import Roles
from cordboard.settings import Settings

USER_ID_MAX_CHARS: Final = 255  # the longest `sub`, by OpenID Connect Core 1.0
_OTHER_NAMES: Final = ("preferred_username", "email")


class Accounts:
    """Reads claims as the settings say.

    Args:
        settings: The names of the claims, and the groups that may sign in.
        roles: Knows the groups that have a meaning.
    """

    def __init__(self, settings: Settings, roles: Roles) -> None:
        self._settings = settings
        self._allowed: Final = frozenset(settings.oidc_allowed_groups)
        self._roles = roles
        self._needs_groups = bool(
            settings.oidc_allowed_groups or settings.interface_operator_groups
        )

    def is_complete(self, claims: Mapping[str, Any]) -> bool:
        """Return whether `claims` have all that is needed; the user information may have more."""
        wanted = [self._settings.oidc_user_claim, self._settings.oidc_name_claim]
        if self._needs_groups:
            wanted.append(self._settings.oidc_groups_claim)
        return all(_claim(claims, name) is not None for name in wanted)

    def account(self, claims: Mapping[str, Any]) -> Account:
        """Return the account of the person whom `claims` describe.

        Raises:
            ProviderInvalidError: The claims have no valid user id.
            SignInRefusedError: The person is in no group that may sign in, or the e-mail address is not verified.
        """
        user_id = self._user_id(claims)
        groups = _texts(_claim(claims, self._settings.oidc_groups_claim))
        if self._allowed and not self._allowed.intersection(groups):
            raise SignInRefusedError(f"{user_id} is in none of oidc_allowed_groups")
        return Account(
            user_id, self._name(claims, user_id), user_id, self._roles.operator_groups(groups)
        )

    def _user_id(self, claims: Mapping[str, Any]) -> str:
        name = self._settings.oidc_user_claim
        value = _claim(claims, name)
        user_id = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        is_valid = isinstance(user_id, str) and user_id.isprintable() and user_id.strip() == user_id
        if not is_valid or not 0 < len(user_id) <= USER_ID_MAX_CHARS:
            raise ProviderInvalidError(f"claim {name}: expected a text, got {str(value)[:100]!r}")
        # At many providers, everybody can enter the e-mail address of somebody else.
        if name == "email" and claims.get("email_verified") is not True:
            raise SignInRefusedError(
                f"the e-mail address {user_id} is not verified",
                "Your e-mail address is not verified.",
            )
        return str(user_id)

    def _name(self, claims: Mapping[str, Any], user_id: str) -> str:
        for name in (self._settings.oidc_name_claim, *_OTHER_NAMES):
            value = _claim(claims, name)
            try:
                if isinstance(value, str):
                    return check_name(value[:NAME_MAX_CHARS])
            except InvalidValueError:
                continue
        return user_id[:NAME_MAX_CHARS]


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """Return a claim by its name, or by the path to it; None if there is none."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _texts(value: Any) -> tuple[str, ...]:
    """Return a claim that is a list of texts; a single text counts as one."""
    values = value if isinstance(value, list) else [value]
    return tuple(item for item in values if isinstance(item, str))
