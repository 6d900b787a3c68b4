"""Extended negotiation (PS3.7 D.3.3.3, D.3.3.5, D.3.3.6): an answer never goes beyond what was proposed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scpd.wire.user_info import AsynchronousOperationsWindow, SOPClassExtendedNegotiation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from scpd.negotiation.offer import Extensions
    from scpd.wire.user_info import SOPClassCommonExtendedNegotiation


def window(
    proposed: AsynchronousOperationsWindow | None, extensions: Extensions
) -> AsynchronousOperationsWindow | None:
    """The answer to a proposed window: one operation at a time, unless the acceptor takes more (D.3.3.3)."""
    if proposed is None:
        return None
    if extensions.window is None:
        return AsynchronousOperationsWindow(1, 1)
    invoked, performed = extensions.window(proposed.invoked, proposed.performed)
    return AsynchronousOperationsWindow(_lesser(proposed.invoked, invoked), _lesser(proposed.performed, performed))


def _lesser(proposed: int, taken: int) -> int:
    # 0 is unlimited, so it is the largest of all.
    return min((count for count in (proposed, taken) if count), default=0)


def answer(
    proposed: Iterable[SOPClassExtendedNegotiation], extensions: Extensions
) -> tuple[SOPClassExtendedNegotiation, ...]:
    """The answers to service class application information, for SOP classes that were proposed (D.3.3.5)."""
    asked = {item.sop_class_uid: item.information for item in proposed}
    if not asked or extensions.extended is None:
        return ()
    taken = extensions.extended(asked)
    return tuple(SOPClassExtendedNegotiation(uid, taken[uid]) for uid in asked if uid in taken)


def common(
    proposed: Iterable[SOPClassCommonExtendedNegotiation], extensions: Extensions
) -> Mapping[str, SOPClassCommonExtendedNegotiation]:
    """The common extended negotiation that the acceptor goes by; the standard has no answer to it (D.3.3.6)."""
    asked = {item.sop_class_uid: item for item in proposed}
    if not asked or extensions.common_extended is None:
        return {}
    return {uid: item for uid, item in extensions.common_extended(asked).items() if uid in asked}
