"""What the tests of the wire build with: one valid request, its bytes, and the way into each decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from scpd.wire.contexts import PresentationContextAC, PresentationContextRQ
from scpd.wire.framing import Framer, Limits
from scpd.wire.pdu import AssociateAC, AssociateRQ, encode_title
from scpd.wire.user_info import (
    AsynchronousOperationsWindow,
    RoleSelection,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityAC,
    UserIdentityRQ,
    UserInformation,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scpd.wire.framing import Fragment
    from scpd.wire.pdu import ControlPDU

settings.register_profile("rooms", deadline=None, max_examples=60)
settings.load_profile("rooms")

VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"


@pytest.fixture(scope="session")
def user_information() -> UserInformation:
    """One that has every sub-item, 51H to 59H."""
    return UserInformation(
        maximum_length=16384,
        implementation_class_uid="1.2.3.4",
        implementation_version_name="SCPD_TEST",
        window=AsynchronousOperationsWindow(1, 2),
        roles=(RoleSelection(CT, scu_role=True, scp_role=False), RoleSelection(VERIFICATION, True, True)),
        extended=(SOPClassExtendedNegotiation(CT, b"\x02\x00\x03"),),
        common_extended=(SOPClassCommonExtendedNegotiation(CT, "1.2.840.10008.4.2", ("1.2.3", "1.2.4")),),
        identities=(UserIdentityRQ(2, True, b"user", b"secret"),),
        identity_response=UserIdentityAC(b"ticket"),
    )


@pytest.fixture(scope="session")
def request_pdu(user_information: UserInformation) -> AssociateRQ:
    return AssociateRQ(
        called_field=encode_title("ARCHIVE"),
        calling_field=encode_title("MODALITY1"),
        user_information=user_information,
        presentation_contexts=(
            PresentationContextRQ(1, VERIFICATION, (IMPLICIT,)),
            PresentationContextRQ(3, CT, (EXPLICIT, IMPLICIT)),
        ),
    )


@pytest.fixture(scope="session")
def accept_pdu(user_information: UserInformation) -> AssociateAC:
    return AssociateAC(
        called_field=encode_title("ARCHIVE"),
        calling_field=encode_title("MODALITY1"),
        user_information=user_information,
        presentation_contexts=(PresentationContextAC(1, 0, IMPLICIT), PresentationContextAC(3, 4, EXPLICIT)),
    )


@pytest.fixture(scope="session")
def associate_body() -> Callable[..., memoryview]:
    """The body of an A-ASSOCIATE-RQ or -AC from its raw items, its fixed part in order."""

    def build(*items: bytes) -> memoryview:
        fixed = b"\x00\x01\x00\x00" + b"ARCHIVE".ljust(16) + b"MODALITY1".ljust(16) + bytes(32)
        return memoryview(fixed + b"".join(items))

    return build


@pytest.fixture(scope="session")
def framer() -> Callable[..., Framer]:
    """A framer with generous limits that admits everything."""

    def build(admit=lambda *_: True, associate: int = 1 << 20, data: int = 1 << 20, **more: int) -> Framer:
        return Framer(admit, Limits(associate, data), **more)

    return build


@pytest.fixture(scope="session")
def put() -> Callable[[Framer, bytes], int]:
    """Write as much of some bytes as the framer's buffer takes now; how many that were."""

    def write(framer: Framer, chunk: bytes) -> int:
        target = framer.writable()
        count = min(len(target), len(chunk))
        target[:count] = chunk[:count]
        framer.wrote(count)
        return count

    return write


@pytest.fixture(scope="session")
def drain() -> Callable[[Framer], list[ControlPDU | Fragment]]:
    """Everything the framer has now, the data of each fragment copied out of its buffer."""

    def take(framer: Framer) -> list[ControlPDU | Fragment]:
        got = []
        while (one := framer.next()) is not None:
            got.append(one._replace(data=bytes(one.data)) if isinstance(one, tuple) else one)
        return got

    return take


@pytest.fixture(scope="session")
def feed(put, drain) -> Callable[[Framer, Iterable[bytes]], list[ControlPDU | Fragment]]:
    """Give a framer chunks as ``recv_into`` would, and take everything out after each."""

    def run(framer: Framer, chunks: Iterable[bytes]) -> list[ControlPDU | Fragment]:
        got = []
        for chunk in chunks:
            start = 0
            while start < len(chunk):
                start += put(framer, chunk[start:])
                got += drain(framer)
        return got

    return run


@pytest.fixture(scope="session")
def merged() -> Callable[[list], list]:
    """The same sequence with the pieces of one fragment joined, so that it no longer tells how the stream was cut.

    Values of one message that follow one another are joined as well: what they say is their bytes, in order.
    """

    def join(got: list) -> list:
        out: list = []
        for one in got:
            last = out[-1] if out else None
            if isinstance(one, tuple) and isinstance(last, tuple) and not last.is_last and last[:2] == one[:2]:
                out[-1] = one._replace(data=last.data + one.data)
            else:
                out.append(one)
        return out

    return join
