"""Instances small enough to read, and the commands that store them."""

from __future__ import annotations

import select
import struct
import time
from typing import TYPE_CHECKING

import pytest

from scpd.dimse import codec
from scpd.dimse.command import CEchoRQ, CStoreRQ
from scpd.dimse.fragment import command
from scpd.wire.pdu import DataTF, PresentationDataValue

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 20.0
VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT = "1.2.840.10008.1.2"


@pytest.fixture(scope="session")
def contexts() -> dict[int, tuple[str, tuple[str, ...]]]:
    """Verification as 1, CT images as 3."""
    return {1: (VERIFICATION, (IMPLICIT,)), 3: (CT, (IMPLICIT,))}


def _element(tag: int, value: bytes) -> bytes:
    value += b"\0" * (len(value) & 1)
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


@pytest.fixture(scope="session")
def data_set() -> Callable[..., bytes]:
    """A CT image in Implicit VR Little Endian, with ``pixels`` bytes of pixel data."""

    def build(uid: str, pixels: int = 1000) -> bytes:
        uids = {0x00080016: CT, 0x00080018: uid, 0x0020000D: "1.2.3", 0x0020000E: "1.2.3.4"}
        head = b"".join(_element(tag, value.encode()) for tag, value in uids.items())
        return head + _element(0x7FE00010, (uid.encode() * (pixels // len(uid) + 1))[:pixels])

    return build


@pytest.fixture(scope="session")
def store(data_set) -> Callable[..., int]:
    """C-STORE an instance in context 3; the status."""

    def send(client, uid: str, pixels: int = 1000) -> int:
        client.send_message(3, store_command(uid), data_set(uid, pixels))
        return client.receive_command().status

    return send


@pytest.fixture(scope="session")
def begin_store(data_set) -> Callable[..., Callable[[], None]]:
    """The front half of a C-STORE; calling what is returned sends the rest."""

    def fragment(client, data: bytes, *, is_last: bool) -> None:
        for start in range(0, len(data), 16000):
            part = data[start : start + 16000]
            value = PresentationDataValue(3, False, is_last and start + 16000 >= len(data), part)
            client.send(DataTF((value,)).encode())

    def send(client, uid: str, pixels: int = 100_000) -> Callable[[], None]:
        data = data_set(uid, pixels)
        client.send(command(3, codec.encode(store_command(uid)), 16384))
        fragment(client, data[: len(data) // 2], is_last=False)
        return lambda: fragment(client, data[len(data) // 2 :], is_last=True)

    return send


def store_command(uid: str) -> CStoreRQ:
    return CStoreRQ(message_id=1, affected_sop_class_uid=CT, affected_sop_instance_uid=uid, has_data_set=True)


@pytest.fixture(scope="session")
def echo() -> Callable[..., int]:
    """C-ECHO in context 1; the status."""

    def send(client) -> int:
        client.send_message(1, CEchoRQ(message_id=1, affected_sop_class_uid=VERIFICATION))
        return client.receive_command().status

    return send


@pytest.fixture(scope="session")
def wait_for() -> Callable[[Callable[[], object]], None]:
    """Until a condition holds that nobody tells of: looked at again and again, with a deadline."""

    def wait(condition: Callable[[], object]) -> None:
        nothing = select.poll()
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline
            nothing.poll(10)

    return wait
