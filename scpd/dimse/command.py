"""The command sets of the eleven DIMSE services, each request and response a frozen dataclass (PS3.7 9.3, 10.3).

A UID or title that is absent is an empty string; whether that is a fault, the service says. How a command set stands
on the wire is told by the metadata of each field and done by :mod:`scpd.dimse.codec`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, ClassVar

NO_DATA_SET = 0x0101
RESPONSE_BIT = 0x8000


class Kind(IntEnum):
    """How a value stands in a command set: US a 16-bit number, UI and TEXT padded characters, AT tags."""

    US = 0
    UI = 1
    TEXT = 2
    AT = 3
    DATA_SET_TYPE = 4


@dataclass(frozen=True, slots=True)
class Element:
    """The place of a field in the command set: its element number in group 0000."""

    number: int
    kind: Kind


def _element(number: int, kind: Kind, default: Any) -> Any:
    return field(default=default, metadata={"element": Element(number, kind)})


def _us(number: int, default: int | None = None) -> Any:
    return _element(number, Kind.US, default)


def _ui(number: int) -> Any:
    return _element(number, Kind.UI, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What every command set has. ``has_data_set`` is Command Data Set Type in one bit."""

    FIELD: ClassVar[int] = 0
    NAME: ClassVar[str] = ""

    has_data_set: bool = _element(0x0800, Kind.DATA_SET_TYPE, default=False)

    @property
    def command_field(self) -> int:
        return self.FIELD


@dataclass(frozen=True, slots=True, kw_only=True)
class Request(Command):
    """A request; Message ID is what its responses refer to."""

    message_id: int = _us(0x0110, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Response(Command):
    """A response: Status and what it refers to, with the optional elements of PS3.7 annex C."""

    message_id_being_responded_to: int = _us(0x0120, 0)
    affected_sop_class_uid: str = _ui(0x0002)
    status: int = _us(0x0900, 0)
    offending_element: tuple[int, ...] = _element(0x0901, Kind.AT, ())
    error_comment: str = _element(0x0902, Kind.TEXT, "")
    error_id: int | None = _us(0x0903)


@dataclass(frozen=True, slots=True, kw_only=True)
class _CompositeRequest(Request):
    affected_sop_class_uid: str = _ui(0x0002)
    priority: int = _us(0x0700, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _InstanceResponse(Response):
    affected_sop_instance_uid: str = _ui(0x1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class _SubOperationsResponse(Response):
    remaining: int | None = _us(0x1020)
    completed: int | None = _us(0x1021)
    failed: int | None = _us(0x1022)
    warning: int | None = _us(0x1023)


@dataclass(frozen=True, slots=True, kw_only=True)
class _AffectedRequest(Request):
    affected_sop_class_uid: str = _ui(0x0002)
    affected_sop_instance_uid: str = _ui(0x1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class _RequestedRequest(Request):
    requested_sop_class_uid: str = _ui(0x0003)
    requested_sop_instance_uid: str = _ui(0x1001)


@dataclass(frozen=True, slots=True, kw_only=True)
class CEchoRQ(Request):
    """C-ECHO-RQ (PS3.7 table 9.3-12)."""

    FIELD, NAME = 0x0030, "C-ECHO"

    affected_sop_class_uid: str = _ui(0x0002)


@dataclass(frozen=True, slots=True, kw_only=True)
class CEchoRSP(Response):
    """C-ECHO-RSP (PS3.7 table 9.3-13)."""

    FIELD, NAME = 0x8030, "C-ECHO"


@dataclass(frozen=True, slots=True, kw_only=True)
class CStoreRQ(_CompositeRequest):
    """C-STORE-RQ (PS3.7 table 9.3-1)."""

    FIELD, NAME = 0x0001, "C-STORE"

    affected_sop_instance_uid: str = _ui(0x1000)
    move_originator_ae_title: str = _element(0x1030, Kind.TEXT, "")
    move_originator_message_id: int | None = _us(0x1031)


@dataclass(frozen=True, slots=True, kw_only=True)
class CStoreRSP(_InstanceResponse):
    """C-STORE-RSP (PS3.7 table 9.3-2)."""

    FIELD, NAME = 0x8001, "C-STORE"


@dataclass(frozen=True, slots=True, kw_only=True)
class CFindRQ(_CompositeRequest):
    """C-FIND-RQ (PS3.7 table 9.3-3)."""

    FIELD, NAME = 0x0020, "C-FIND"


@dataclass(frozen=True, slots=True, kw_only=True)
class CFindRSP(Response):
    """C-FIND-RSP (PS3.7 table 9.3-4)."""

    FIELD, NAME = 0x8020, "C-FIND"


@dataclass(frozen=True, slots=True, kw_only=True)
class CGetRQ(_CompositeRequest):
    """C-GET-RQ (PS3.7 table 9.3-6)."""

    FIELD, NAME = 0x0010, "C-GET"


@dataclass(frozen=True, slots=True, kw_only=True)
class CGetRSP(_SubOperationsResponse):
    """C-GET-RSP (PS3.7 table 9.3-7)."""

    FIELD, NAME = 0x8010, "C-GET"


@dataclass(frozen=True, slots=True, kw_only=True)
class CMoveRQ(_CompositeRequest):
    """C-MOVE-RQ (PS3.7 table 9.3-9)."""

    FIELD, NAME = 0x0021, "C-MOVE"

    move_destination: str = _element(0x0600, Kind.TEXT, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class CMoveRSP(_SubOperationsResponse):
    """C-MOVE-RSP (PS3.7 table 9.3-10)."""

    FIELD, NAME = 0x8021, "C-MOVE"


@dataclass(frozen=True, slots=True, kw_only=True)
class CCancelRQ(Command):
    """C-CANCEL-RQ (PS3.7 tables 9.3-5, -8, -11): no message of its own, no response."""

    FIELD, NAME = 0x0FFF, "C-CANCEL"

    message_id_being_responded_to: int = _us(0x0120, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class NEventReportRQ(_AffectedRequest):
    """N-EVENT-REPORT-RQ (PS3.7 table 10.3-1)."""

    FIELD, NAME = 0x0100, "N-EVENT-REPORT"

    event_type_id: int | None = _us(0x1002)


@dataclass(frozen=True, slots=True, kw_only=True)
class NEventReportRSP(_InstanceResponse):
    """N-EVENT-REPORT-RSP (PS3.7 table 10.3-2)."""

    FIELD, NAME = 0x8100, "N-EVENT-REPORT"

    event_type_id: int | None = _us(0x1002)


@dataclass(frozen=True, slots=True, kw_only=True)
class NGetRQ(_RequestedRequest):
    """N-GET-RQ (PS3.7 table 10.3-3); the tags are 32-bit numbers, group in the upper half."""

    FIELD, NAME = 0x0110, "N-GET"

    attribute_identifier_list: tuple[int, ...] = _element(0x1005, Kind.AT, ())


@dataclass(frozen=True, slots=True, kw_only=True)
class NGetRSP(_InstanceResponse):
    """N-GET-RSP (PS3.7 table 10.3-4)."""

    FIELD, NAME = 0x8110, "N-GET"

    attribute_identifier_list: tuple[int, ...] = _element(0x1005, Kind.AT, ())


@dataclass(frozen=True, slots=True, kw_only=True)
class NSetRQ(_RequestedRequest):
    """N-SET-RQ (PS3.7 table 10.3-5)."""

    FIELD, NAME = 0x0120, "N-SET"


@dataclass(frozen=True, slots=True, kw_only=True)
class NSetRSP(_InstanceResponse):
    """N-SET-RSP (PS3.7 table 10.3-6)."""

    FIELD, NAME = 0x8120, "N-SET"

    attribute_identifier_list: tuple[int, ...] = _element(0x1005, Kind.AT, ())


@dataclass(frozen=True, slots=True, kw_only=True)
class NActionRQ(_RequestedRequest):
    """N-ACTION-RQ (PS3.7 table 10.3-7)."""

    FIELD, NAME = 0x0130, "N-ACTION"

    action_type_id: int | None = _us(0x1008)


@dataclass(frozen=True, slots=True, kw_only=True)
class NActionRSP(_InstanceResponse):
    """N-ACTION-RSP (PS3.7 table 10.3-8)."""

    FIELD, NAME = 0x8130, "N-ACTION"

    action_type_id: int | None = _us(0x1008)


@dataclass(frozen=True, slots=True, kw_only=True)
class NCreateRQ(_AffectedRequest):
    """N-CREATE-RQ (PS3.7 table 10.3-9)."""

    FIELD, NAME = 0x0140, "N-CREATE"


@dataclass(frozen=True, slots=True, kw_only=True)
class NCreateRSP(_InstanceResponse):
    """N-CREATE-RSP (PS3.7 table 10.3-10)."""

    FIELD, NAME = 0x8140, "N-CREATE"


@dataclass(frozen=True, slots=True, kw_only=True)
class NDeleteRQ(_RequestedRequest):
    """N-DELETE-RQ (PS3.7 table 10.3-11)."""

    FIELD, NAME = 0x0150, "N-DELETE"


@dataclass(frozen=True, slots=True, kw_only=True)
class NDeleteRSP(_InstanceResponse):
    """N-DELETE-RSP (PS3.7 table 10.3-12)."""

    FIELD, NAME = 0x8150, "N-DELETE"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnrecognizedRQ(Request):
    """A request for an operation that PS3.7 does not have: good for nothing but a refusal (0211H)."""

    NAME = "unrecognized"

    number: int = 0

    @property
    def command_field(self) -> int:
        return self.number


@dataclass(frozen=True, slots=True, kw_only=True)
class UnrecognizedRSP(Response):
    """The refusal of such a request."""

    NAME = "unrecognized"

    number: int = 0

    @property
    def command_field(self) -> int:
        return self.number


RESPONSES: dict[type[Request], type[Response]] = {
    CEchoRQ: CEchoRSP,
    CStoreRQ: CStoreRSP,
    CFindRQ: CFindRSP,
    CGetRQ: CGetRSP,
    CMoveRQ: CMoveRSP,
    NEventReportRQ: NEventReportRSP,
    NGetRQ: NGetRSP,
    NSetRQ: NSetRSP,
    NActionRQ: NActionRSP,
    NCreateRQ: NCreateRSP,
    NDeleteRQ: NDeleteRSP,
}
_ALL: tuple[type[Command], ...] = (*RESPONSES, *RESPONSES.values(), CCancelRQ)
COMMANDS: dict[int, type[Command]] = {kind.FIELD: kind for kind in _ALL}


def respond(request: Request, status: int, **more: Any) -> Response:
    """The response to ``request`` with ``status``; it names the SOP class and instance of the request.

    ``more`` are further fields of the response's class, as ``error_comment`` or ``has_data_set``.
    """
    sop_class = getattr(request, "affected_sop_class_uid", "") or getattr(request, "requested_sop_class_uid", "")
    more.update(message_id_being_responded_to=request.message_id, status=status, affected_sop_class_uid=sop_class)
    if isinstance(request, UnrecognizedRQ):
        return UnrecognizedRSP(number=request.number | RESPONSE_BIT, **more)
    kind = RESPONSES[type(request)]
    if issubclass(kind, _InstanceResponse) and "affected_sop_instance_uid" not in more:
        more["affected_sop_instance_uid"] = getattr(request, "affected_sop_instance_uid", "") or getattr(
            request, "requested_sop_instance_uid", ""
        )
    return kind(**more)
