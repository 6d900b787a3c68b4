"""C-ECHO: one Success, whatever the context says."""

from __future__ import annotations

from scpd.dimse import status
from scpd.dimse.command import CEchoRQ, CEchoRSP
from scpd.negotiation.offer import AcceptedContext
from scpd.services.service import Operation, Peer
from scpd.services.verification import Verification

VERIFICATION = "1.2.840.10008.1.1"


def test_an_echo_is_answered_with_success_and_the_message_it_answers():
    request = CEchoRQ(message_id=7, affected_sop_class_uid=VERIFICATION)
    context = AcceptedContext(1, VERIFICATION, "1.2.840.10008.1.2")
    operation = Operation(Peer("127.0.0.1:1", "CT1", "SCPD"), context, request, lambda: iter(()), lambda: False)
    (reply,) = Verification().perform(operation)
    assert reply.response == CEchoRSP(
        message_id_being_responded_to=7, affected_sop_class_uid=VERIFICATION, status=status.SUCCESS
    )
    assert reply.why == ""
    assert list(reply.data) == []


def test_nothing_but_an_echo_is_taken():
    assert Verification.operations == {CEchoRQ}
