"""Every error that scpd raises on purpose.

::

    ScpdError
    ├── ConfigurationError       the file is wrong; carries every fault
    ├── PeerError                the peer, or the way to it, ended what was going on
    │   ├── ProtocolError        it broke PS3.8 or PS3.7; carries the A-ABORT source and reason
    │   ├── Rejected             it answered A-ASSOCIATE-RJ
    │   ├── Aborted              it sent A-ABORT
    │   ├── Released             it asked for release while it owed an answer
    │   ├── ConnectionLost       the transport connection is gone
    │   └── Expired              a deadline passed; carries which
    ├── Interrupted              somebody in this process asked the association to end
    ├── InvalidCommand           a command set that has no meaning (PS3.7 6.3)
    ├── UnreadableDataSet        a data set that cannot be walked as far as is needed
    ├── StoreError               an instance was not stored; carries the C-STORE status
    ├── IndexUnavailable         what is held cannot be looked up or written down for now
    ├── SettingError             a value that reads well and cannot be used, such as a file; carries its key
    └── IdentityError            a user identity is not confirmed; says why in words for the log
        ├── NotVerified          it does not hold
        └── Unavailable          what would verify it is away for now

An error carries its data and makes its own sentence; text that came from a peer is quoted in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class ScpdError(Exception):
    """The root: whoever catches this catches everything scpd raises on purpose."""


class ConfigurationError(ScpdError):
    """A configuration with faults, all of them at once.

    ``faults`` holds sentences of the form ``file:line: key: what; what to do``.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


class PeerError(ScpdError):
    """The peer, or the connection to it, ended what was going on."""


class ProtocolError(PeerError):
    """The peer broke the rules of PS3.8 or PS3.7, and gets an A-ABORT for it.

    ``reason`` is the Reason/Diag. of the A-ABORT with source "service-provider" (PS3.8 table 9-26):
    0 not specified, 1 unrecognized PDU, 2 unexpected PDU, 4 unrecognized PDU parameter,
    5 unexpected PDU parameter, 6 invalid PDU parameter value. ``answered`` says that the A-ABORT was sent already.
    """

    def __init__(self, what: str, *, reason: int = 0, answered: bool = False) -> None:
        super().__init__(what)
        self.what = what
        self.reason = reason
        self.answered = answered


class Rejected(PeerError):
    """The peer answered A-ASSOCIATE-RJ; the numbers are those of PS3.8 table 9-21."""

    def __init__(self, result: int, source: int, reason: int, words: str) -> None:
        super().__init__(f"the peer rejected the association: {words}")
        self.result = result
        self.source = source
        self.reason = reason
        self.words = words


class Aborted(PeerError):
    """The peer sent A-ABORT; the numbers are those of PS3.8 table 9-26."""

    def __init__(self, source: int, reason: int, words: str) -> None:
        super().__init__(f"the peer aborted the association: {words}")
        self.source = source
        self.reason = reason
        self.words = words


class Released(PeerError):
    """The peer asked for release while it owed an answer, or before a request could be sent."""

    def __init__(self) -> None:
        super().__init__("the peer released the association")


class ConnectionLost(PeerError):
    """The transport connection was closed, reset, or never came about."""


class Expired(PeerError):
    """A deadline passed. ``which`` names it as the configuration does: artim, idle, message, write."""

    def __init__(self, which: str, what: str) -> None:
        super().__init__(f"{what} (timeouts.{which})")
        self.which = which


class Interrupted(ScpdError):
    """Somebody in this process asked the association to end; ``why`` is for the log."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class InvalidCommand(ScpdError):
    """A command set whose bytes or elements have no meaning (PS3.7 6.3)."""


class UnreadableDataSet(ScpdError):
    """A data set that cannot be walked as far as is needed (PS3.5 section 7)."""


class StoreError(ScpdError):
    """An instance that was not stored. ``status`` is what the C-STORE response says (PS3.4 B.2.3)."""

    def __init__(self, status: int, what: str) -> None:
        super().__init__(what)
        self.status = status
        self.what = what


class IndexUnavailable(ScpdError):
    """What is held cannot be looked up or written down for now; says why in words."""


class IdentityError(ScpdError):
    """A user identity is not confirmed (PS3.7 D.3.3.7).

    ``why`` is for the log: it names no secret, and what it repeats of the peer's is quoted. ``user`` is the name that
    was claimed, where there was one, quoted too. ``key`` is what decided, as the configuration calls it.
    """

    def __init__(self, why: str, user: str = "", key: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.user = user
        self.key = key


class NotVerified(IdentityError):
    """The identity does not hold."""


class Unavailable(IdentityError):
    """What would verify the identity does not answer, or cannot for now."""


class SettingError(ScpdError):
    """A value that reads well and cannot be used: a file that is missing, a key that fits no certificate.

    ``key`` is the part of the settings that is at fault, ``what`` the sentence: what is wrong; what to do.
    """

    def __init__(self, key: str, what: str) -> None:
        super().__init__(f"{key}: {what}")
        self.key = key
        self.what = what
