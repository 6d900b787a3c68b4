"""Every A-ASSOCIATE-RJ of PS3.8 table 9-21 by its name, and the words for those that come from elsewhere."""

from __future__ import annotations

from scpd.negotiation.offer import Rejection, RejectResult, RejectSource
from scpd.wire.pdu import AssociateRJ

_P, _T = RejectResult
_USER, _ACSE, _PRESENTATION = RejectSource

# (source, reason) → the standard's words for it.
REASONS: dict[tuple[int, int], str] = {
    (_USER, 1): "no reason given",
    (_USER, 2): "application context name not supported",
    (_USER, 3): "calling AE title not recognized",
    (_USER, 7): "called AE title not recognized",
    (_ACSE, 1): "no reason given",
    (_ACSE, 2): "protocol version not supported",
    (_PRESENTATION, 1): "temporary congestion",
    (_PRESENTATION, 2): "local limit exceeded",
}
_RESULTS: dict[int, str] = {_P: "permanently", _T: "transiently"}
_SOURCES: dict[int, str] = {
    _USER: "DICOM UL service-user",
    _ACSE: "DICOM UL service-provider (ACSE related function)",
    _PRESENTATION: "DICOM UL service-provider (presentation related function)",
}


def words(answer: AssociateRJ) -> str:
    """An A-ASSOCIATE-RJ in words: how, by whom, why."""
    result = _RESULTS.get(answer.result, f"result {answer.result}")
    source = _SOURCES.get(answer.source, f"source {answer.source}")
    return f"{result}, {source}: {reason(answer)}"


def reason(answer: AssociateRJ) -> str:
    """The reason of an A-ASSOCIATE-RJ in words."""
    return REASONS.get((answer.source, answer.reason), f"reason {answer.reason}")


def application_context(why: str) -> Rejection:
    """The application context name is not DICOM's."""
    return Rejection(AssociateRJ(_P, _USER, 2), why)


def calling_ae_title(why: str, key: str) -> Rejection:
    """This calling AE title is not let in."""
    return Rejection(AssociateRJ(_P, _USER, 3), why, key)


def called_ae_title(why: str, key: str) -> Rejection:
    """The peer asked for somebody else."""
    return Rejection(AssociateRJ(_P, _USER, 7), why, key)


def not_welcome(why: str, key: str) -> Rejection:
    """This peer is not let in, and neither of its titles is the reason."""
    return Rejection(AssociateRJ(_P, _USER, 1), why, key)


def protocol_version(why: str) -> Rejection:
    """The peer does not speak version 1 of the protocol."""
    return Rejection(AssociateRJ(_P, _ACSE, 2), why)


def no_reason(why: str) -> Rejection:
    """Something that PS3.8 has no number for."""
    return Rejection(AssociateRJ(_P, _ACSE, 1), why)


def identity(why: str, key: str) -> Rejection:
    """A user identity that does not hold (PS3.7 D.3.3.7)."""
    return Rejection(AssociateRJ(_P, _ACSE, 1), why, key)


def congestion(why: str, key: str) -> Rejection:
    """Something this side needs is busy or away for now."""
    return Rejection(AssociateRJ(_T, _PRESENTATION, 1), why, key)


def local_limit(why: str, key: str) -> Rejection:
    """A limit of this side is reached for now."""
    return Rejection(AssociateRJ(_T, _PRESENTATION, 2), why, key)
