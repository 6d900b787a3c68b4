"""A user identity on its way from a claim to somebody who is known (PS3.7 D.3.3.7)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple, Protocol


class Form(IntEnum):
    """User-Identity-Type (PS3.7 table D.3-14)."""

    USERNAME = 1
    PASSCODE = 2
    KERBEROS = 3
    SAML = 4
    JWT = 5


# How people call them, in logs and errors.
FORM_NAMES: dict[int, str] = {
    Form.USERNAME: "username",
    Form.PASSCODE: "username and passcode",
    Form.KERBEROS: "Kerberos ticket",
    Form.SAML: "SAML assertion",
    Form.JWT: "JSON Web Token",
}


# The longest user name that anybody takes, in bytes: 256 characters.
LONGEST_NAME = 1024


@dataclass(frozen=True, slots=True)
class Claim:
    """What a peer says it is: ``form`` is a :class:`Form`, or any other number that it sent.

    The fields are the peer's bytes, at most 65,535 of each, and hold secrets: none of them shows in ``repr``, and none
    of them may get into a log or an error, but a user name, quoted.
    """

    form: int
    primary: bytes = field(repr=False)
    secondary: bytes = field(default=b"", repr=False)


class User(NamedTuple):
    """Somebody who was verified. ``response`` is the Server-response that a positive answer carries, or empty."""

    name: str
    roles: frozenset[str] = frozenset()
    response: bytes = b""


class Provider(Protocol):
    """Verifies claims of some forms. One is shared by all workers of a server, each in its own thread.

    ``warning`` says what is wrong with its files by now, while it goes on with what it read before; or it is empty.
    """

    forms: frozenset[int]
    warning: str

    def verify(self, claim: Claim) -> User:
        """Who it is, in bounded time and memory.

        Raises :class:`~scpd.errors.NotVerified` when the claim does not hold, and
        :class:`~scpd.errors.Unavailable` when that cannot be found out for now; each says why in words for the log,
        which name no secret.
        """
