"""A role that was refused is not played: PS3.7 D.3.3.4, told by bytes made by hand, since no real peer tries it."""

from __future__ import annotations

import pytest

from scpd.dimse.command import CStoreRQ
from scpd.wire.pdu import Abort, AssociateAC
from scpd.wire.user_info import RoleSelection

pytestmark = pytest.mark.interop

CT, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"
DATA = bytes.fromhex("0800 1800 5549 0600") + b"1.2.3\0"


def test_who_was_refused_the_scu_role_cannot_store(daemon, connect):
    running = daemon(contexts=[{"sop_classes": "CTImageStorage", "scu_role": False, "scp_role": True}])
    client = connect(running.port)
    answer = client.associate({1: (CT, [EXPLICIT])}, roles=(RoleSelection(CT, True, True),))
    assert isinstance(answer, AssociateAC)
    assert answer.user_information.roles == (RoleSelection(CT, False, True),)
    request = CStoreRQ(message_id=1, affected_sop_class_uid=CT, affected_sop_instance_uid="1.2.3", has_data_set=True)
    client.send_message(1, request, DATA)
    pdu = client.receive()
    if not isinstance(pdu, Abort):
        client.release()
        (line,) = running.associations(1)
        assert not set(line["messages"]) & {"C-STORE 0000", "C-STORE B007"}
    assert running.stored() == []
