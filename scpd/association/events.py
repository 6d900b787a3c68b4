"""The events and states of PS3.8 tables 9-1 to 9-9, by their names there."""

from __future__ import annotations

from enum import IntEnum

from scpd.wire.pdu import PDUType


class State(IntEnum):
    """States of the upper layer state machine (PS3.8 tables 9-1 to 9-5)."""

    STA1 = 1  # idle
    STA2 = 2  # transport connection open, awaiting A-ASSOCIATE-RQ
    STA3 = 3  # awaiting the local A-ASSOCIATE response
    STA4 = 4  # awaiting the transport connection
    STA5 = 5  # awaiting A-ASSOCIATE-AC or -RJ
    STA6 = 6  # association established
    STA7 = 7  # awaiting A-RELEASE-RP
    STA8 = 8  # awaiting the local A-RELEASE response
    STA9 = 9  # release collision, requestor: awaiting the local response
    STA10 = 10  # release collision, acceptor: awaiting A-RELEASE-RP
    STA11 = 11  # release collision, requestor: awaiting A-RELEASE-RP
    STA12 = 12  # release collision, acceptor: awaiting the local response
    STA13 = 13  # awaiting the transport connection's close


class Event(IntEnum):
    """Events of the upper layer state machine (PS3.8 table 9-10), with this project's words for them."""

    ASSOCIATE_REQUEST = 1
    CONNECTED = 2
    ASSOCIATE_AC = 3
    ASSOCIATE_RJ = 4
    ACCEPTED_CONNECTION = 5
    ASSOCIATE_RQ = 6
    ACCEPT = 7
    REJECT = 8
    DATA_REQUEST = 9
    DATA_TF = 10
    RELEASE_REQUEST = 11
    RELEASE_RQ = 12
    RELEASE_RP = 13
    RELEASE_RESPONSE = 14
    ABORT_REQUEST = 15
    ABORT = 16
    CLOSED = 17
    ARTIM_EXPIRED = 18
    INVALID_PDU = 19


# The event that a PDU from the peer is.
RECEIVED: dict[int, Event] = {
    PDUType.A_ASSOCIATE_RQ: Event.ASSOCIATE_RQ,
    PDUType.A_ASSOCIATE_AC: Event.ASSOCIATE_AC,
    PDUType.A_ASSOCIATE_RJ: Event.ASSOCIATE_RJ,
    PDUType.P_DATA_TF: Event.DATA_TF,
    PDUType.A_RELEASE_RQ: Event.RELEASE_RQ,
    PDUType.A_RELEASE_RP: Event.RELEASE_RP,
    PDUType.A_ABORT: Event.ABORT,
}
