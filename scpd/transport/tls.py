"""A connection under TLS (PS3.15 annex B), driven exactly like a plain one.

OpenSSL never sees the socket: it encodes and decodes in memory, and every byte goes through the plain connection
underneath. So waits, deadlines and interrupts are those of ``connection.py``, and OpenSSL cannot mistake the receiving
half that an interrupt shuts for a peer that cut the stream: it would end TLS there, and no A-ABORT could follow.

Knows no profile, no file of keys and no configuration: what is allowed stands in the context that it is given.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from scpd.errors import ConnectionLost, Expired, Interrupted
from scpd.names import quote
from scpd.transport.connection import TLS, Connection
from scpd.transport.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_RECORD = 16 * 1024  # the most plaintext in one record (RFC 8446 5.1)
# What is taken from the system, and given to it, at once: it starts small and doubles, as the association's buffer.
_INITIAL = 8 * 1024
_MOST = 64 * 1024
_MOST_RECEIVED = 256 * 1024
_MOST_UNSENT = 4 * _MOST
_OPENING = 8  # so many of the peer's first bytes tell what it speaks
_LONGEST_QUOTE = 120

_CUT_OFF = "the peer closed the connection without a TLS close_notify: what it sent may be truncated"
_CUT_OFF_EARLY = "the peer closed the connection"
# OpenSSL's names of alerts, which differ by the version that brought them (SSLV3_ALERT_BAD_CERTIFICATE).
_ALERT = re.compile(r"(?:SSLV3|TLSV1|TLSV13)_(?:ALERT_)?(\w+)")
_ABOUT_OUR_CERTIFICATE = frozenset(
    (
        "ACCESS_DENIED",
        "BAD_CERTIFICATE",
        "CERTIFICATE_EXPIRED",
        "CERTIFICATE_REVOKED",
        "CERTIFICATE_UNKNOWN",
        "UNKNOWN_CA",
        "UNSUPPORTED_CERTIFICATE",
    )
)
_WORDS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the peer sent no certificate, and one is required",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the peer requires a certificate, and was sent none",
    "NO_SHARED_CIPHER": "the peer offers no cipher suite that is allowed here",
    "UNSUPPORTED_PROTOCOL": "the peer offers no version of TLS that is allowed here",
}


class SecureConnection(Connection):
    """A connection whose bytes are protected by TLS from :meth:`begin` on, which has to come first.

    ``received`` and ``sent`` count what the network carried, handshake included. As with a plain one, one thread may
    receive while another sends, and any may interrupt.
    """

    def __init__(
        self,
        sock: socket.socket,
        peer: str,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        server_hostname: str | None = None,
    ) -> None:
        super().__init__(sock, peer)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._engine = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_hostname
        )
        self._raw = memoryview(bytearray(_INITIAL))
        self._unsent = b""  # what TLS itself has to say and the system had no room for
        self._kept = b""  # decoded, and not yet received
        self._speaks = True
        self._over: str | None = None  # how the peer's stream ended: "" with close_notify, else what went wrong
        # OpenSSL stands one thread at a time; nobody waits for the peer while he has it.
        self._one_at_a_time = threading.Lock()
        self._taking = threading.Lock()  # what is taken from the system reaches OpenSSL in order
        self._giving = threading.Lock()  # and what OpenSSL gives, the system

    def begin(self, deadline: Deadline) -> None:
        """Do the TLS handshake. Raises the deadline's own error, or :class:`ConnectionLost` that says what failed."""
        try:
            self._handshake(deadline)
        except Expired:  # of a peer that is silent, and of one that does not read
            raise deadline.expired() from None
        except ConnectionLost as error:
            self.handshake_failed = bool(self.received)
            raise ConnectionLost(f"the TLS handshake failed: {error}") from error
        cipher = self._engine.cipher()
        self.tls = TLS(
            self._engine.version() or "",
            cipher[0] if cipher else "",
            self._engine.getpeercert(),
            self._engine.getpeercert(binary_form=True),
        )
        # After it this side may have nothing to say, and DCMTK's clients wait for its acknowledgement.
        if self._quickack:
            self._acknowledge_at_once()

    def _handshake(self, deadline: Deadline) -> None:
        opening = b""
        while not self._shakes_hands(opening):
            self._transmit(deadline.remaining())
            self._set_patience(deadline.remaining())
            opening = (opening + bytes(self._feed(0) or b""))[:_OPENING]
        self._transmit(deadline.remaining())

    def _shakes_hands(self, opening: bytes) -> bool:
        """Go on with the handshake as far as what has come allows; whether it is complete."""
        try:
            self._engine.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            self._flush()  # the alert
            raise ConnectionLost(_foreign(opening) or _words(error)) from error
        return True

    def _receive(self, view: memoryview, flags: int) -> int | None:
        if self._interrupted is not None:
            raise Interrupted(self._interrupted)
        count = self._decode(view)
        if count is None and self._feed(flags):
            count = self._decode(view)
        return count

    def _feed(self, flags: int) -> memoryview | None:
        """Take from the system what has come, and give it to OpenSSL; None when there is nothing."""
        with self._taking:
            count = super()._receive(self._raw, flags)
            if count is None:
                return None
            if not count:
                raise ConnectionLost(_CUT_OFF if self.tls else _CUT_OFF_EARLY)
            came = self._raw[:count]
            with self._one_at_a_time:
                self._incoming.write(came)
            if count == len(self._raw) < _MOST_RECEIVED:
                self._raw = memoryview(bytearray(2 * count))
            return came

    def _decode(self, view: memoryview) -> int | None:
        """Fill ``view`` as far as whole records have come; None when none has, 0 after the peer's close_notify."""
        with self._one_at_a_time:
            count = self._give_kept(view) if self._kept else self._read(view)
        if self._outgoing.pending or self._unsent:
            self._answer_for_tls()
        if count or self._over is None:
            return count or None
        if self._over:
            raise ConnectionLost(self._over)
        return 0

    def _read(self, view: memoryview) -> int:
        count = 0
        try:
            # Asking first spares OpenSSL's "want read", an exception, wherever records end where messages do.
            while count < len(view) and self._over is None and (self._incoming.pending or self._engine.pending()):
                came: int = self._engine.read(len(view) - count, view[count:])  # type: ignore[assignment]
                if not came:
                    self._over = ""
                count += came
        except ssl.SSLWantReadError:
            pass  # the rest of a record is still to come
        except ssl.SSLZeroReturnError:
            self._over = ""
        except ssl.SSLError as error:
            self._over = _words(error)
        return count

    def _give_kept(self, view: memoryview) -> int:
        given, self._kept = self._kept[: len(view)], self._kept[len(view) :]
        view[: len(given)] = given
        return len(given)

    def _answer_for_tls(self) -> None:
        """Send what TLS says by itself: alerts, a new key (RFC 8446 4.6.3), a renegotiation."""
        self._flush()
        if len(self._unsent) + self._outgoing.pending > _MOST_UNSENT:
            raise Expired("write", "the peer does not read what TLS has to answer")

    def _flush(self) -> None:
        """Send without waiting; what does not fit goes before whatever is sent next."""
        if self._speaks and self._giving.acquire(blocking=False):  # else whoever has it takes care of this too
            try:
                with self._one_at_a_time:
                    self._unsent += self._outgoing.read()
                with suppress(OSError):  # no room, or the peer is gone, which receiving will say
                    count = self._socket.send(self._unsent, socket.MSG_DONTWAIT)
                    self.sent += count
                    self._unsent = self._unsent[count:]
            finally:
                self._giving.release()

    def send(self, parts: Sequence[bytes | memoryview], timeout: float) -> None:
        """Send all of ``parts``: what fits into one record is one record, and leaves in one packet.

        Raises :class:`Expired` when the peer takes nothing for ``timeout`` seconds, :class:`ConnectionLost`.
        """
        if not self._speaks or self._over:
            raise ConnectionLost(self._over or "nothing can be sent any more")
        for chunk in _chunks(parts):
            self._encode(chunk, timeout)
            if self._outgoing.pending >= _MOST:
                self._transmit(timeout)
        self._transmit(timeout)

    def _encode(self, chunk: bytes | memoryview, timeout: float) -> None:
        deadline: Deadline | None = None
        while chunk:
            try:
                with self._one_at_a_time:
                    chunk = chunk[self._engine.write(chunk) :]
            except ssl.SSLWantReadError:
                deadline = deadline or Deadline.after(timeout, "write", "the peer does not end its renegotiation")
                self._transmit(timeout)
                self._await_renegotiation(deadline)
            except ssl.SSLError as error:
                raise ConnectionLost(_words(error)) from error

    def _await_renegotiation(self, deadline: Deadline) -> None:
        """Wait for more of a renegotiation that the peer began (TLS 1.2), or for whoever receives to bring it."""
        if self._taking.locked():
            if self._taking.acquire(timeout=deadline.remaining()):
                self._taking.release()
        else:
            self._set_patience(deadline.remaining())
            self._feed(0)

    def _transmit(self, timeout: float) -> None:
        with self._giving:
            with self._one_at_a_time:
                parts, self._unsent = (self._unsent, self._outgoing.read()), b""
            try:
                super().send(parts, timeout)
            except Expired:
                self._speaks = False  # after half a record nothing else has a meaning
                raise
            except ConnectionLost as error:
                self._speaks = False
                raise ConnectionLost(self._last_words() or str(error)) from error
        if self._outgoing.pending:  # what TLS had to answer meanwhile
            self._flush()

    def _last_words(self) -> str:
        """The alert that a peer sent before it closed, for whoever finds that nothing can be sent any more."""
        if not self._taking.acquire(blocking=False):
            return ""  # whoever receives will find it
        try:
            count = super()._receive(self._raw, socket.MSG_DONTWAIT)
            with self._one_at_a_time:
                self._incoming.write(self._raw[: count or 0])
                self._keep_what_came()
        except (ConnectionLost, Interrupted):
            return ""
        finally:
            self._taking.release()
        return self._over or ""

    def finish_sending(self) -> None:
        """Send close_notify, without waiting for the peer's, and shut the sending half."""
        self._say_close_notify()
        super().finish_sending()

    def close(self) -> None:
        """Send close_notify, where it was not sent and there is room for it, and give the connection back."""
        self._say_close_notify()
        super().close()

    def _say_close_notify(self) -> None:
        if self.tls and self._speaks:
            with self._one_at_a_time:
                self._keep_what_came()
                with suppress(ssl.SSLError):  # it looks for the peer's at once, which has not come
                    self._engine.unwrap()
            self._flush()
            self._speaks = False

    def _keep_what_came(self) -> None:
        """Decode what has come: OpenSSL fails for good on data that it finds where it looks for close_notify."""
        scratch = memoryview(bytearray(self._incoming.pending + self._engine.pending()))
        self._kept += bytes(scratch[: self._read(scratch)])


def _chunks(parts: Sequence[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """Cut ``parts`` into full records: small parts joined, whole records of one part in one piece and not copied."""
    gathered: list[bytes | memoryview] = []
    room = _RECORD
    for part in parts:
        view = memoryview(part)
        if gathered and len(view) >= room:
            yield b"".join((*gathered, view[:room]))
            view, gathered, room = view[room:], [], _RECORD
        while not gathered and len(view) >= _RECORD:
            whole = min(_MOST, len(view) // _RECORD * _RECORD)
            yield view[:whole]
            view = view[whole:]
        if view:
            gathered.append(view)
            room -= len(view)
    if gathered:
        yield b"".join(gathered)


def _words(error: ssl.SSLError) -> str:
    """What went wrong with TLS, for people."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the peer's certificate is not accepted: {quote(error.verify_message, _LONGEST_QUOTE)}"
    reason = error.reason or ""
    if reason in _WORDS:
        return _WORDS[reason]
    alert = _ALERT.fullmatch(reason)
    if alert and alert[1] in _ABOUT_OUR_CERTIFICATE:
        return f"the peer does not accept our certificate: {_plain(alert[1])}"
    if alert:
        return f"the peer ended TLS with the alert {_plain(alert[1])}"
    return f"OpenSSL says {_plain(reason or str(error))}"


def _plain(reason: str) -> str:
    return quote(reason.lower().replace("_", " "), _LONGEST_QUOTE)


def _foreign(opening: bytes) -> str | None:
    """What a peer speaks whose first bytes are no TLS record (RFC 8446 5.1), nor the SSL 2.0 form of its first."""
    if not opening or 0x14 <= opening[0] <= 0x18 or opening[0] & 0x80:
        return None
    if 1 <= opening[0] <= 7 and opening[1:2] in (b"", b"\0"):
        return f"the peer spoke plain DICOM, not TLS: it began with a PDU of type {opening[0]:02X}H"
    return f"the peer does not speak TLS: it began with {quote(opening.decode('latin-1'))}"
