"""Kerberos tickets, accepted with the keys of a keytab (PS3.7 D.3.3.7, form 3; PS3.15 B.6).

The system's Kerberos library judges them, and nothing is asked over the network. Beside the keytab it uses what is the
machine's own: krb5.conf, and the replay cache (in KRB5RCACHEDIR, else /var/tmp), where it has to be able to write.
"""

from __future__ import annotations

import os
import re
import stat
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

import gssapi
from gssapi import raw
from gssapi.raw.misc import GSSError

from scpd.errors import NotVerified, SettingError, Unavailable
from scpd.identity.claim import Form, User
from scpd.names import quote
from scpd.regular import content

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from gssapi.raw.named_tuples import AcceptSecContextResult

    from scpd.identity.claim import Claim

_SERVICE = re.compile(r"[^\s/@\\]+(?:/[^\s/@\\]+)+(?:@[^\s/@\\]+)?")
_KEYTAB_VERSION = b"\x05\x02"
_MOST_OF_A_KEYTAB = 1 << 20
_LONGEST_NAME = 256
_LONGEST_QUOTE = 200

_MECHANISM = gssapi.MechType.kerberos
_MECHANISM_IN_DER = bytes.fromhex("06092a864886f712010202")
# What goes before an AP-REQ and an AP-REP (RFC 4121 4.1), and the tag that begins an AP-REQ alone (RFC 4120 5.5.1).
_AP_REQ_TOKEN = _MECHANISM_IN_DER + b"\x01\x00"
_AP_REP_TOKEN = _MECHANISM_IN_DER + b"\x02\x00"
_AP_REQ = b"\x6e"

# The library counts its errors from here: to 127 they are those of RFC 4120 7.5.9, from 128 on its own.
_FIRST_ERROR = -1765328384
_FOR_ANOTHER = "the ticket is for another service, or was made with a key that is not in the keytab"
_REPLAY = "the ticket was presented before: a replay"
_WORDS = {
    31: _FOR_ANOTHER,
    32: "the ticket has expired",
    33: "the ticket is not valid yet; compare the clocks",
    34: _REPLAY,
    35: _FOR_ANOTHER,
    36: "the ticket is not that of who presents it",
    37: "the clocks of the peer and of this machine differ too much; set both by the same time server",
    44: "the ticket was made with a key that is not in the keytab; add the service's present key to it",
    45: _FOR_ANOTHER,
    144: _FOR_ANOTHER,
    163: _REPLAY,
}
_ABOUT_KEYS = frozenset((31, 35, 44, 45, 144))  # where the library tells which service and which key
_NO_TICKET = "what was sent is no Kerberos ticket, or a broken one"
# The replay cache does not work, or the keytab; below 1000 are the system's own errors with their files.
_OURS = {*range(159, 185), 211, 215, 235} - {163}
_MOST_ERRNO = 1000
_WELL_KNOWN = "WELLKNOWN/"  # RFC 6111: nobody in particular, such as WELLKNOWN/ANONYMOUS


class Kerberos:
    """Accepts tickets for ``service``, a principal such as ``dicom/pacs.example``, with its keys in ``keytab``.

    ``service`` may leave out its realm if the keytab has it in one only. A principal of one of ``realms`` is a user by
    its name alone, any other by name and realm, as in ``alice@OTHER.EXAMPLE``. The keytab is read for each claim, so a
    renewed one counts at once.

    Raises :class:`SettingError` with the key ``keytab`` or ``service``.
    """

    forms: frozenset[int] = frozenset((Form.KERBEROS,))
    warning = ""  # without its keytab it goes on with nothing

    def __init__(self, keytab: Path, service: str, realms: Collection[str] = ()) -> None:
        self._keytab = keytab
        self._service = service
        self._realms = frozenset(realms)
        if not _SERVICE.fullmatch(service):
            raise SettingError("service", f"{quote(service)} names no service; write one as in dicom/pacs.example")
        if _is_exposed(keytab):
            raise SettingError("keytab", f"every user of this machine may use {keytab}; chmod o= {keytab}")
        self._find_principal()

    def verify(self, claim: Claim) -> User:
        """Whose ticket it is; ``response`` is the AP-REP if the peer asked for mutual authentication (PS3.7 D.3.3.7.2).

        The ticket comes as the first token of GSS-API with the mechanism krb5, or as an AP-REQ alone, as PS3.7 has it;
        the AP-REP then leaves alike.
        """
        is_alone = claim.primary.startswith(_AP_REQ)
        accepted = self._accept(_with_header(claim.primary) if is_alone else claim.primary)
        if accepted.more_steps or accepted.mech != _MECHANISM:
            raise NotVerified("the ticket asks for more steps than an association has")
        user = self._user(accepted)
        response = accepted.token or b""
        return User(user, response=response.partition(_AP_REP_TOKEN)[2] if is_alone else response)

    def _accept(self, token: bytes) -> AcceptSecContextResult:
        if not token:
            raise NotVerified("there is no ticket in the claim")
        credentials = self._credentials()
        try:
            return raw.accept_sec_context(token, credentials)
        except GSSError as error:
            raise _refusal(error) from error

    def _credentials(self) -> raw.Creds:
        try:
            name = raw.import_name(self._find_principal().encode(), gssapi.NameType.kerberos_principal)
            store: dict[bytes | str, bytes | str] = {b"keytab": b"FILE:" + os.fsencode(self._keytab)}
            return raw.acquire_cred_from(store, name, mechs=[_MECHANISM], usage="accept").creds
        except SettingError as error:
            raise Unavailable(error.what) from error
        except GSSError as error:
            raise Unavailable(f"the keytab {self._keytab} cannot be used: {_said(error)}") from error

    def _find_principal(self) -> str:
        """The service with its realm, as the keytab has it."""
        held = set(_principals(self._keytab))
        found = [one for one in held if self._service in (one, one.rpartition("@")[0])]
        if not found:
            others = quote(", ".join(sorted(held)), _LONGEST_QUOTE)
            raise SettingError("service", f"{self._keytab} has no key of {self._service}, but of {others}; add it")
        if len(found) > 1:
            raise SettingError("service", f"{self._keytab} has it in several realms; write it with its realm")
        return found[0]

    def _user(self, accepted: AcceptSecContextResult) -> str:
        name = raw.display_name(accepted.initiator_name, name_type=False).name
        principal = name.decode(errors="replace")
        if accepted.flags & gssapi.RequirementFlag.anonymity or principal.startswith(_WELL_KNOWN):
            raise NotVerified("the ticket is that of nobody in particular", quote(principal))
        # The library puts a backslash before what could be mistaken for a separator: such names are not for people.
        if len(name) > _LONGEST_NAME or not principal.isprintable() or {"\\", "\ufffd"} & set(principal):
            raise NotVerified("the ticket is that of a principal whose name is not plain text", quote(principal))
        user, _, realm = principal.rpartition("@")
        return user if realm in self._realms else principal


def _with_header(ap_req: bytes) -> bytes:
    """The token of GSS-API that holds ``ap_req`` (RFC 2743 3.1): the library takes none without."""
    body = _AP_REQ_TOKEN + ap_req
    return b"\x60\x83" + len(body).to_bytes(3) + body


def _refusal(error: GSSError) -> NotVerified | Unavailable:
    number = (error.min_code - _FIRST_ERROR) & 0xFFFFFFFF
    if 0 < error.min_code < _MOST_ERRNO or number in _OURS:
        return Unavailable(f"the replay cache of Kerberos does not work: {_said(error)}; let it write there")
    why = _WORDS.get(number, _NO_TICKET)
    return NotVerified(f"{why}: {_said(error)}" if number in _ABOUT_KEYS else why)


def _said(error: GSSError) -> str:
    """What the library says, which may repeat names that the peer made up."""
    return quote("; ".join(error.get_all_statuses(error.min_code, is_maj=False)), _LONGEST_QUOTE)


def _is_exposed(keytab: Path) -> bool:
    with suppress(OSError):  # reading it tells why
        return bool(keytab.stat().st_mode & stat.S_IRWXO)
    return False


def _principals(keytab: Path) -> Iterator[str]:
    """Whose keys stand in a keytab. Raises :class:`SettingError`."""
    try:
        raw = content(keytab, _MOST_OF_A_KEYTAB)
    except OSError as error:
        raise SettingError("keytab", f"{keytab} cannot be read: {error.strerror}; name a keytab") from error
    try:
        yield from map(_principal, _entries(raw))
    except (ValueError, struct.error) as error:
        raise SettingError("keytab", f"{keytab} is no keytab, or a broken one; make it anew with ktadd") from error


def _entries(raw: bytes) -> Iterator[bytes]:
    """The entries of a keytab, which come with their length; a negative one is the length of a hole."""
    if not raw.startswith(_KEYTAB_VERSION):
        raise ValueError
    at = len(_KEYTAB_VERSION)
    while at < len(raw):
        (length,) = struct.unpack_from(">i", raw, at)
        at += 4
        if length > 0:
            yield _take(raw, at, length)
        at += abs(length)


def _principal(entry: bytes) -> str:
    """Whose key an entry holds: a count of components, the realm, then these, each led by its length."""
    (count,) = struct.unpack_from(">H", entry)
    parts, at = [], 2
    for _ in range(1 + count):
        (length,) = struct.unpack_from(">H", entry, at)
        parts.append(_take(entry, at + 2, length).decode())
        at += 2 + length
    return "/".join(parts[1:]) + "@" + parts[0]


def _take(content: bytes, at: int, length: int) -> bytes:
    if at + length > len(content):
        raise ValueError
    return content[at : at + length]
