"""Statuses and what kind of outcome they are (PS3.7 annex C, PS3.4 annexes B, C, F, H and J).

``category`` is the same for all services; ``meaning`` looks in the service's own table first.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Category(Enum):
    """The five status classes of PS3.7 annex C."""

    SUCCESS = "success"
    WARNING = "warning"
    FAILURE = "failure"
    CANCEL = "cancel"
    PENDING = "pending"


SUCCESS = 0x0000
CANCEL = 0xFE00
PENDING = 0xFF00
PENDING_KEYS_UNSUPPORTED = 0xFF01
INVALID_ATTRIBUTE_VALUE = 0x0106
PROCESSING_FAILURE = 0x0110
DUPLICATE_SOP_INSTANCE = 0x0111
INVALID_SOP_INSTANCE = 0x0117
NO_SUCH_SOP_CLASS = 0x0118
MISSING_ATTRIBUTE = 0x0120
SOP_CLASS_NOT_SUPPORTED = 0x0122
NOT_AUTHORIZED = 0x0124
UNRECOGNIZED_OPERATION = 0x0211
OUT_OF_RESOURCES = 0xA700
DATA_SET_DOES_NOT_MATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000
COERCION_OF_DATA_ELEMENTS = 0xB000
WARNING_DOES_NOT_MATCH = 0xB007

# PS3.7 annex C: what every service may answer.
GENERAL: Mapping[int, str] = {
    SUCCESS: "Success",
    0x0001: "Warning: requested optional attributes are not supported",
    0x0105: "No such attribute",
    INVALID_ATTRIBUTE_VALUE: "Invalid attribute value",
    0x0107: "Attribute list error",
    PROCESSING_FAILURE: "Processing failure",
    DUPLICATE_SOP_INSTANCE: "Duplicate SOP instance",
    0x0112: "No such SOP instance",
    0x0113: "No such event type",
    0x0114: "No such argument",
    0x0115: "Invalid argument value",
    0x0116: "Attribute value out of range",
    INVALID_SOP_INSTANCE: "Invalid SOP instance",
    NO_SUCH_SOP_CLASS: "No such SOP class",
    0x0119: "Class-instance conflict",
    MISSING_ATTRIBUTE: "Missing attribute",
    0x0121: "Missing attribute value",
    SOP_CLASS_NOT_SUPPORTED: "Refused: SOP class not supported",
    0x0123: "No such action type",
    NOT_AUTHORIZED: "Refused: not authorized",
    0x0210: "Duplicate invocation",
    UNRECOGNIZED_OPERATION: "Unrecognized operation",
    0x0212: "Mistyped argument",
    0x0213: "Resource limitation",
    CANCEL: "Cancel",
    PENDING: "Pending",
}

# PS3.4 table B.2-1.
STORAGE: Mapping[int, str] = {
    OUT_OF_RESOURCES: "Refused: out of resources",
    DATA_SET_DOES_NOT_MATCH: "Error: data set does not match SOP class",
    CANNOT_UNDERSTAND: "Error: cannot understand",
    COERCION_OF_DATA_ELEMENTS: "Warning: coercion of data elements",
    0xB006: "Warning: elements discarded",
    WARNING_DOES_NOT_MATCH: "Warning: data set does not match SOP class",
}

# PS3.4 table C.4-1.
FIND: Mapping[int, str] = {
    OUT_OF_RESOURCES: "Refused: out of resources",
    DATA_SET_DOES_NOT_MATCH: "Error: data set does not match SOP class",
    CANNOT_UNDERSTAND: "Failed: unable to process",
    PENDING: "Matches are continuing, all optional keys supported",
    PENDING_KEYS_UNSUPPORTED: "Matches are continuing, optional keys not supported",
}

# PS3.4 tables C.4-2 and C.4-3: C-MOVE and C-GET.
RETRIEVE: Mapping[int, str] = {
    0xA701: "Refused: out of resources, unable to calculate number of matches",
    0xA702: "Refused: out of resources, unable to perform sub-operations",
    0xA801: "Refused: move destination unknown",
    DATA_SET_DOES_NOT_MATCH: "Error: data set does not match SOP class",
    CANNOT_UNDERSTAND: "Failed: unable to process",
    COERCION_OF_DATA_ELEMENTS: "Warning: one or more sub-operations failed",
    PENDING: "Sub-operations are continuing",
}

BY_SERVICE: Mapping[str, Mapping[int, str]] = {
    "C-STORE": STORAGE,
    "C-FIND": FIND,
    "C-MOVE": RETRIEVE,
    "C-GET": RETRIEVE,
}

_FAMILIES = {0xA700: 0xFF00, 0xA900: 0xFF00, 0xC000: 0xF000}
_GENERAL_WARNINGS = frozenset((0x0001, 0x0107, 0x0116))


def category(status: int) -> Category:
    """The status class of ``status`` (PS3.7 annex C): unknown ones are failures."""
    if status == SUCCESS:
        return Category.SUCCESS
    if status == CANCEL:
        return Category.CANCEL
    if status in (PENDING, PENDING_KEYS_UNSUPPORTED):
        return Category.PENDING
    if status & 0xF000 == 0xB000 or status in _GENERAL_WARNINGS:
        return Category.WARNING
    return Category.FAILURE


def meaning(status: int, service: str = "") -> str:
    """``status`` in the standard's words; ``service`` is the name of the operation, as "C-STORE"."""
    own = BY_SERVICE.get(service, {})
    if status in own:
        return own[status]
    for family, mask in _FAMILIES.items():
        if status & mask == family and family in own:
            return own[family]
    return GENERAL.get(status, f"{category(status).value} {status:04X}H")
