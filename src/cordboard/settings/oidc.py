"""Settings of the login with OpenID Connect."""

from dataclasses import dataclass

from cordboard.settings.kinds import Positive


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class OidcSettings:
    """The identity provider of the login `oidc`, and what its claims mean."""

    oidc_issuer: str | None = None
    """With the login `oidc`: the issuer of the identity provider, such as https://login.example.org/realms/staff.
    Its metadata is read at OIDC_ISSUER/.well-known/openid-configuration."""

    oidc_client_id: str | None = None
    """The id of this interface at the identity provider. Register the redirect URI
    INTERFACE_URL/login/callback there, and INTERFACE_URL/login for sign-outs. The secret is
    CORDBOARD_OIDC_CLIENT_SECRET; a public client has none."""

    oidc_scopes: tuple[str, ...] = ("openid", "profile", "email")
    """The scopes to request. Some providers send groups only with another one, such as groups."""

    oidc_user_claim: str = "sub"
    """The claim with the user's id, which becomes `userId`. The provider must never give it to another
    person. With email, the claim email_verified must be true."""

    oidc_name_claim: str = "name"
    """The claim with the name that pages show, which becomes `userName`. Without it,
    preferred_username, email or the user's id is shown."""

    oidc_groups_claim: str = "groups"
    """The claim with the user's groups or roles, a list of texts. A path such as realm_access.roles
    leads into an object."""

    oidc_allowed_groups: tuple[str, ...] = ()
    """Groups whose members may sign in; without groups, everybody whom the provider admits."""

    oidc_login_hours: Positive = 12
    """Hours after which a person has to sign in again in any case, so that a person whose account was
    disabled, or whose groups have changed, keeps the access for a working day at most."""

    oidc_idle_minutes: Positive = 60
    """Minutes without an opened page or a join after which a login ends. A call in the page
    (`interface_max_duration_s`) has to fit into it. NIST SP 800-63B allows an hour."""

    oidc_ca: str | None = None
    """A file of certificate authorities (PEM) with which the certificate of the identity provider is
    verified. If unset, the system's authorities are trusted."""
