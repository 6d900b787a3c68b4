"""The statuses that a service answers, as a table (PS3.7 annex C, PS3.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scpd.daemon.conformance.document import Code, Table
from scpd.dimse import status

if TYPE_CHECKING:
    from collections.abc import Iterable

_HEADER = ("Status", "Code", "Meaning", "When")

ANYWHERE = (
    (status.UNRECOGNIZED_OPERATION, "The operation is not one of those of its SOP Class."),
    (status.SOP_CLASS_NOT_SUPPORTED, "This AE is not the SCP in the presentation context, by role selection."),
)
OTHER_CLASS = (
    status.SOP_CLASS_NOT_SUPPORTED,
    f"Affected SOP Class UID is not the abstract syntax of the presentation context. {ANYWHERE[1][1]}",
)


def table(service: str, rows: Iterable[tuple[int, str]]) -> Table:
    """The statuses of a service, each with when it is answered."""
    return Table(
        f"Statuses of {service}",
        _HEADER,
        tuple(
            (status.category(code).value.capitalize(), Code(f"{code:04X}"), status.meaning(code, service), when)
            for code, when in rows
        ),
    )
