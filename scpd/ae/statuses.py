"""Statuses between a handler or a program and the wire: numbers, or data sets with a Status (PS3.7 annex C).

Knows no association and no handler.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydicom.config import IGNORE
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import UID

from scpd.dimse.command import (
    COMMANDS,
    CEchoRQ,
    CFindRQ,
    CGetRQ,
    CMoveRQ,
    Command,
    CStoreRQ,
    Element,
    Kind,
    NActionRQ,
    NCreateRQ,
    NCreateRSP,
    NDeleteRQ,
    NEventReportRQ,
    NGetRQ,
    NSetRQ,
    Request,
)
from scpd.dimse.status import PROCESSING_FAILURE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scpd.dimse.command import Response

# What the peer is told when a handler raises. The composite services have a range of their own for "unable to
# process" (PS3.4 tables B.2-1 and C.4-1 to C.4-3), where the ecosystem uses these numbers; the others have 0110H.
HANDLER_RAISED: Mapping[type[Request], int] = {
    CEchoRQ: PROCESSING_FAILURE,
    CStoreRQ: 0xC211,
    CFindRQ: 0xC311,
    CGetRQ: 0xC411,
    CMoveRQ: 0xC511,
    NEventReportRQ: PROCESSING_FAILURE,
    NGetRQ: PROCESSING_FAILURE,
    NSetRQ: PROCESSING_FAILURE,
    NActionRQ: PROCESSING_FAILURE,
    NCreateRQ: PROCESSING_FAILURE,
    NDeleteRQ: PROCESSING_FAILURE,
}
# A handler's answer without a meaning: a data set without Status, and neither a number nor a data set.
NO_STATUS, NOT_A_STATUS = 0xC001, 0xC002
# The data set that a handler yielded cannot be encoded.
CANNOT_ENCODE: Mapping[type[Request], int] = {CFindRQ: 0xC312, CGetRQ: 0xC411, CMoveRQ: 0xC511}
# C-GET and C-MOVE: the number of sub-operations is no number; more than the 65535 that a response can count.
NO_COUNT: Mapping[type[Request], int] = {CGetRQ: 0xC413, CMoveRQ: 0xC513}
TOO_MANY: Mapping[type[Request], int] = {CGetRQ: 0xC416, CMoveRQ: 0xC516}
# C-MOVE: no destination was yielded, or none that can be called; the destination is unknown or does not answer.
NO_DESTINATION, INVALID_DESTINATION = 0xC514, 0xC515
DESTINATION_UNKNOWN = 0xA801


class BadStatus(ValueError):
    """What a handler returned is no status; ``status`` is what the peer is told instead."""

    def __init__(self, status: int, what: str) -> None:
        super().__init__(what)
        self.status = status


def _keywords(kind: type[Command]) -> dict[str, tuple[str, Kind]]:
    found = {}
    for name, one in kind.__dataclass_fields__.items():
        element = one.metadata.get("element")
        if isinstance(element, Element):
            found[keyword_for_tag(element.number)] = (name, element.kind)
    return found


# The standard's keyword of each element of a message → our field and how its value stands.
KEYWORDS: Mapping[type[Command], Mapping[str, tuple[str, Kind]]] = {kind: _keywords(kind) for kind in COMMANDS.values()}
_OF_EVERY_RESPONSE = ("CommandDataSetType", "MessageIDBeingRespondedTo", "AffectedSOPClassUID", "Status")
# Field and keyword of what a program is told of a response beside its Status, where it came.
_OPTIONAL: Mapping[type[Command], tuple[tuple[str, str], ...]] = {
    kind: tuple(
        (name, keyword)
        for keyword, (name, _) in keywords.items()
        if keyword not in _OF_EVERY_RESPONSE and (keyword != "AffectedSOPInstanceUID" or kind is NCreateRSP)
    )
    for kind, keywords in KEYWORDS.items()
}
_ABSENT = (None, "", ())


def value_of(command: Command, keyword: str) -> object:
    """The value of an element as pydicom would have it; None where it is absent. Raises :class:`KeyError`."""
    name, kind = KEYWORDS[type(command)][keyword]
    value = getattr(command, name)
    if kind is Kind.UI:
        return UID(value, validation_mode=IGNORE) if value else None
    if kind is Kind.AT:
        return [Tag(tag) for tag in value] or None
    if kind is Kind.TEXT:
        return value or None
    return value


def to_dataset(response: Response) -> Dataset:
    """A response as a data set with its Status and what optional elements came with it (PS3.7 annex C).

    The instance is named in the response to an N-CREATE alone, where the peer may have made it.
    """
    status = Dataset()
    status.Status = response.status
    for name, keyword in _OPTIONAL[type(response)]:
        if getattr(response, name) not in _ABSENT:
            setattr(status, keyword, value_of(response, keyword))
    return status


def parse(returned: object, response: type[Command]) -> tuple[int, dict[str, object]]:
    """What a handler returned as its status: the number, and further fields of the response.

    Takes a number or a data set with a Status. Raises :class:`BadStatus`.
    """
    if isinstance(returned, Dataset):
        if "Status" not in returned:
            raise BadStatus(NO_STATUS, "a data set without (0000,0900) Status")
        status = returned.Status
        more = {}
        for element in returned:
            name, kind = KEYWORDS[response].get(element.keyword, ("", Kind.US))
            if name and element.keyword not in ("Status", "CommandDataSetType", "MessageIDBeingRespondedTo"):
                more[name] = _field(element.value, kind)
    else:
        status, more = returned, {}
    if isinstance(status, bool) or not isinstance(status, int) or not 0 <= status <= 0xFFFF:
        raise BadStatus(NOT_A_STATUS, f"{status!r} is no status: return a number of 16 bits or a data set with Status")
    return int(status), more


def _field(value: object, kind: Kind) -> object:
    if kind is Kind.AT:
        several = value if isinstance(value, (list, tuple)) or hasattr(value, "__iter__") else [value]
        return tuple(int(tag) for tag in several)
    if kind is Kind.US:
        return None if value is None else int(value)  # type: ignore[call-overload]
    return "" if value is None else str(value)
