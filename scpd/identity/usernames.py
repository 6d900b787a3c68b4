"""User names alone (PS3.7 D.3.3.7, form 1; PS3.15 B.4): known, not proven.

Nothing here shows that a peer is who it says; use it where something else does, such as its certificate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scpd.errors import NotVerified
from scpd.identity.claim import Claim, Form, User
from scpd.names import quote

if TYPE_CHECKING:
    from collections.abc import Iterable


class Usernames:
    """Takes the names of a list."""

    forms: frozenset[int] = frozenset((Form.USERNAME,))
    warning = ""

    def __init__(self, users: Iterable[str], roles: Iterable[str] = ()) -> None:
        self._users = frozenset(users)
        self._roles = frozenset(roles)

    def verify(self, claim: Claim) -> User:
        """See :class:`~scpd.identity.claim.Provider`."""
        try:
            name = claim.primary.decode()
        except UnicodeDecodeError:
            raise NotVerified("the user name is not UTF-8") from None
        if name not in self._users:
            raise NotVerified(f"{quote(name)} is not among the users", quote(name))
        return User(name, self._roles)
