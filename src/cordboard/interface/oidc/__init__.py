"""Sign-in with OpenID Connect: the authorization code flow with PKCE, state and nonce.

``provider.py`` asks the identity provider, ``id_token.py`` verifies what it says, ``account.py`` reads its
claims, ``attempts.py`` binds each sign-in to the browser that began it, and ``routes.py`` has the pages. The
extra ``oidc`` installs what they need; nothing else of the interface imports them at its start.
"""
