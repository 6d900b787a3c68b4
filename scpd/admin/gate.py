"""Who may abort and drain: whoever has the token, and who guesses at it has to wait.

Knows no HTTP but the statuses of its refusals.
"""

from __future__ import annotations

import secrets
import time
from typing import NamedTuple

from scpd.identity.lockout import Lockout
from scpd.telemetry.logs import logger

_GUESSES = 5
_SECONDS = 60.0
_CLOSED = "nobody may do this here: no token is configured; write admin.token, at best as file:/run/secrets/x"


class Refusal(NamedTuple):
    """Why not, and a status of HTTP. ``wait`` is for how many seconds to come no more."""

    status: int
    why: str
    wait: int = 0


class Gate:
    """All methods may be called from any thread."""

    def __init__(self, token: str | None) -> None:
        self.change(token)
        self._lockout = Lockout(_GUESSES, _SECONDS)
        self._log = logger("admin")

    def change(self, token: str | None) -> None:
        """Another token from now on; who has to wait still does."""
        self._token = token.encode() if token else b""

    @property
    def can_open(self) -> bool:
        """Whether anybody may."""
        return bool(self._token)

    def refusal(self, token: str | None, address: str) -> Refusal | None:
        """Why who comes from ``address`` with ``token`` may not, or None where it may."""
        if not self._token:
            return Refusal(403, _CLOSED)
        now = time.monotonic()
        wait = self._lockout.remaining(address, now)
        if wait:
            seconds = int(wait) + 1
            return Refusal(429, f"too many wrong tokens from {address}; wait {seconds} s", seconds)
        if not token:
            return Refusal(401, "the token is missing; give that of admin.token")
        if not secrets.compare_digest(token.encode("utf-8", "backslashreplace"), self._token):
            self._lockout.failed(address, now)
            self._log.warning("wrong token", peer=address)
            return Refusal(401, "this is not the token; give that of admin.token")
        self._lockout.succeeded(address)
        return None
