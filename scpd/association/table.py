"""PS3.8 table 9-10, to be laid beside the printed one: an event a row, a state a column, in each cell the action.

A dot is a cell that the standard leaves empty: the event cannot happen in that state.
"""

from __future__ import annotations

from scpd.association.events import Event, State

_GRID = """
        Sta1 Sta2 Sta3 Sta4 Sta5 Sta6 Sta7 Sta8 Sta9 Sta10 Sta11 Sta12 Sta13
Evt1     AE1  .    .    .    .    .    .    .    .    .     .     .     .     A-ASSOCIATE request, local
Evt2     .    .    .    AE2  .    .    .    .    .    .     .     .     .     transport connected
Evt3     .    AA1  AA8  .    AE3  AA8  AA8  AA8  AA8  AA8   AA8   AA8   AA6   A-ASSOCIATE-AC received
Evt4     .    AA1  AA8  .    AE4  AA8  AA8  AA8  AA8  AA8   AA8   AA8   AA6   A-ASSOCIATE-RJ received
Evt5     AE5  .    .    .    .    .    .    .    .    .     .     .     .     transport accepted
Evt6     .    AE6  AA8  .    AA8  AA8  AA8  AA8  AA8  AA8   AA8   AA8   AA7   A-ASSOCIATE-RQ received
Evt7     .    .    AE7  .    .    .    .    .    .    .     .     .     .     accept, local
Evt8     .    .    AE8  .    .    .    .    .    .    .     .     .     .     reject, local
Evt9     .    .    .    .    .    DT1  .    AR7  .    .     .     .     .     P-DATA request, local
Evt10    .    AA1  AA8  .    AA8  DT2  AR6  AA8  AA8  AA8   AA8   AA8   AA6   P-DATA-TF received
Evt11    .    .    .    .    .    AR1  .    .    .    .     .     .     .     release request, local
Evt12    .    AA1  AA8  .    AA8  AR2  AR8  AA8  AA8  AA8   AA8   AA8   AA6   A-RELEASE-RQ received
Evt13    .    AA1  AA8  .    AA8  AA8  AR3  AA8  AA8  AR10  AR3   AA8   AA6   A-RELEASE-RP received
Evt14    .    .    .    .    .    .    .    AR4  AR9  .     .     AR4   .     release response, local
Evt15    .    .    AA1  AA2  AA1  AA1  AA1  AA1  AA1  AA1   AA1   AA1   .     abort, local
Evt16    .    AA2  AA3  .    AA3  AA3  AA3  AA3  AA3  AA3   AA3   AA3   AA2   A-ABORT received
Evt17    .    AA5  AA4  AA4  AA4  AA4  AA4  AA4  AA4  AA4   AA4   AA4   AR5   transport closed
Evt18    .    AA2  .    .    .    .    .    .    .    .     .     .     AA2   ARTIM expired
Evt19    .    AA1  AA8  .    AA8  AA8  AA8  AA8  AA8  AA8   AA8   AA8   AA7   unrecognized or invalid PDU
"""


def _read(grid: str) -> dict[tuple[Event, State], str]:
    cells = {}
    for row in grid.strip().splitlines()[1:]:
        name, *actions = row.split()[: 1 + len(State)]
        event = Event(int(name.removeprefix("Evt")))
        cells.update({(event, state): action for state, action in zip(State, actions, strict=True) if action != "."})
    return cells


# (event, state) → name of the action; an empty cell of the standard is absent.
TABLE: dict[tuple[Event, State], str] = _read(_GRID)
