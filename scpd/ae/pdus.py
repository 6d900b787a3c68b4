"""The bytes of an association as events: EVT_DATA_RECV and _SENT as they pass, EVT_PDU_RECV and _SENT by PDU.

Beside the way of the messages: it costs a program that binds them, and nobody else.
"""

from __future__ import annotations

from typing import Any, Protocol

from scpd.ae import evt
from scpd.errors import ProtocolError
from scpd.wire.pdu import DECODERS, HEADER, DataTF, PDUType

_EVENTS = (evt.EVT_DATA_RECV, evt.EVT_DATA_SENT, evt.EVT_PDU_RECV, evt.EVT_PDU_SENT)


class Teller(Protocol):
    """An association, as far as its bytes concern it."""

    handlers: evt.Handlers

    def tell(self, event: evt.EventType, **attributes: Any) -> None: ...
    def must_go_on(self) -> None: ...


def tap(assoc: Teller) -> Tap | None:
    """What hears the bytes for the handlers that are bound by now; None where none is."""
    return Tap(assoc) if any(assoc.handlers.of(event) for event in _EVENTS) else None


class Tap:
    """Tells the handlers of an association."""

    def __init__(self, assoc: Teller) -> None:
        self._assoc = assoc
        self._received = Cutter()
        self._sent = Cutter()

    def received(self, data: bytes) -> None:
        """EVT_DATA_RECV, and EVT_PDU_RECV for each PDU that is whole by now."""
        self._tell(data, self._received, evt.EVT_DATA_RECV, evt.EVT_PDU_RECV)
        self._assoc.must_go_on()

    def sent(self, data: bytes) -> None:
        """EVT_DATA_SENT and EVT_PDU_SENT."""
        self._tell(data, self._sent, evt.EVT_DATA_SENT, evt.EVT_PDU_SENT)

    def _tell(self, data: bytes, cutter: Cutter, raw: evt.EventType, whole: evt.EventType) -> None:
        self._assoc.tell(raw, data=data)
        if self._assoc.handlers.of(whole):
            for pdu in cutter.cut(data):
                self._assoc.tell(whole, pdu=pdu)


class Cutter:
    """A stream of bytes, cut into PDUs. The engine judges them; what is invalid ends the cutting here, silently."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._lost = False

    def cut(self, data: bytes) -> list[object]:
        """The PDUs that ``data`` completes."""
        pdus: list[object] = []
        if self._lost:
            return pdus
        self._pending += data
        while len(self._pending) >= HEADER.size:
            pdu_type, length = HEADER.unpack_from(self._pending)
            if pdu_type not in DECODERS and pdu_type != PDUType.P_DATA_TF:
                self._lose()
            if len(self._pending) < HEADER.size + length:
                break
            body = memoryview(bytes(self._pending[HEADER.size : HEADER.size + length]))
            del self._pending[: HEADER.size + length]
            try:
                pdus.append((DataTF if pdu_type == PDUType.P_DATA_TF else DECODERS[pdu_type]).decode(body))
            except ProtocolError:
                self._lose()
        return pdus

    def _lose(self) -> None:
        self._lost = True
        self._pending.clear()
