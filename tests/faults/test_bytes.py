"""Peers that lie, mumble or fall silent: each is answered or closed in time, told in one line, and felt by nobody else."""

from __future__ import annotations

import random
import socket
import struct
import subprocess
import threading
import time
from contextlib import suppress

import pytest

from scpd.dimse import codec
from scpd.dimse.command import CEchoRQ, CStoreRQ
from scpd.wire.contexts import PresentationContextRQ
from scpd.wire.pdu import (
    Abort,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    DataTF,
    PresentationDataValue,
    ReleaseRP,
    ReleaseRQ,
    encode_title,
)
from scpd.wire.user_info import RoleSelection, UserInformation

MiB = 1 << 20
VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT = "1.2.840.10008.1.2"
REQUEST = AssociateRQ(
    called_field=encode_title("SCPD"),
    calling_field=encode_title("LIAR"),
    user_information=UserInformation(
        maximum_length=16384,
        implementation_class_uid="1.2.3",
        implementation_version_name="LIES",
        roles=(RoleSelection(VERIFICATION, True, False),),
    ),
    presentation_contexts=(
        PresentationContextRQ(1, VERIFICATION, (IMPLICIT,)),
        PresentationContextRQ(3, CT, (IMPLICIT, "1.2.840.10008.1.2.1")),
    ),
).encode()


def without_association(line) -> bool:
    return line["event"] == "connection without association"


def nothing_failed(one) -> None:
    """No fault of the program came to light: no traceback, no error."""
    assert not [line for line in one.logs if line.get("level") == "error"], one.lines
    assert not [line for line in one.lines if "Traceback" in line]


# -- lengths that lie


@pytest.mark.parametrize("state", ["before the association", "inside the association"])
@pytest.mark.parametrize("kind", [1, 4])
def test_a_promise_of_four_gigabytes_is_refused_by_its_header_and_costs_no_memory(
    daemon, connect, associate, load, process, state, kind
):
    """The header, then silence until the A-ABORT; then 100 MB more, which nobody keeps."""
    one = daemon()
    with load(one):
        before = process(one).resident
        client = connect(one.port) if state.startswith("before") else associate(one)
        began = time.monotonic()
        client.send(struct.pack(">BxI", kind, 0xFFFFFFFF))
        assert isinstance(client.receive(), Abort)
        assert time.monotonic() - began < 1
        with suppress(ConnectionError):
            for _ in range(100):
                client.send(bytes(MiB))
        after = process(one).resident
        client.close()
    assert abs(after - before) < 8 * MiB, f"{(after - before) / MiB:.1f} MiB more"
    nothing_failed(one)


def test_an_association_request_that_grows_to_its_limit_costs_no_more_than_the_limit(daemon, connect, load, process):
    """20 peers, each with 1 MiB of one that is never finished."""
    one = daemon(limits={"association_request": "1MiB"})
    with load(one):
        before = process(one).resident
        clients = [connect(one.port) for _ in range(20)]
        for client in clients:
            client.send(struct.pack(">BxI", 1, MiB) + REQUEST[6:] + bytes(MiB - len(REQUEST)))
        assert isinstance(connect(one.port).associate(), AssociateAC)
        after = process(one).resident
    assert after - before < 20 * 2 * MiB + 8 * MiB
    nothing_failed(one)


def fields_of_request() -> list[tuple[int, int, str]]:
    """Offset, size and name of every length field of the request, at every level."""
    found = [(2, 4, "PDU")]

    def walk(start: int, end: int) -> None:
        while start < end:
            kind, length = struct.unpack_from(">BxH", REQUEST, start)
            found.append((start + 2, 2, f"item {kind:02X}H"))
            if kind in (0x20, 0x50):
                walk(start + 4 + (4 if kind == 0x20 else 0), start + 4 + length)
            if kind == 0x54:
                found.append((start + 4, 2, "UID of item 54H"))
            start += 4 + length

    walk(74, len(REQUEST))
    return found


def lies(size: int, true: int) -> list[int]:
    most = (1 << 8 * size) - 1
    return [value for value in (0, 1, 3, true - 1, true + 1, true + 4, most // 2, most) if value != true]


def test_every_length_field_of_an_association_request_may_lie(daemon, connect, load):
    """Whatever it says, the peer is answered or closed before ARTIM is over, and nothing fails."""
    one = daemon(timeouts={"artim": "1s"}, limits={"pending": 1000, "pending_per_address": 1000, "associations": 500})
    with load(one):
        asked = []
        for offset, size, name in fields_of_request():
            true = int.from_bytes(REQUEST[offset : offset + size])
            for lie in lies(size, true):
                client = connect(one.port)
                client.send(REQUEST[:offset] + lie.to_bytes(size) + REQUEST[offset + size :])
                asked.append((name, lie, client))
        assert len(asked) > 80
        for name, lie, client in asked:
            answer = client.receive(5.0)
            # A PDU that promises more than came is waited for, and closed at ARTIM: AA-2, without a word. A length
            # that makes unknown items of known ones may be harmless: those are skipped.
            silence = answer is None and name == "PDU"
            answered = answer == Abort(0, 0) or isinstance(answer, (AssociateRJ, AssociateAC))
            assert silence or answered, f"{name} as {lie}: {answer}"
    nothing_failed(one)


def fields_of_message() -> list[tuple[bytes, int, int, str, str]]:
    """A C-STORE with one of its length fields: bytes, offset, size, byte order, name."""
    store = CStoreRQ(message_id=1, affected_sop_class_uid=CT, affected_sop_instance_uid="1.2.3.4", has_data_set=True)
    whole = codec.encode(store)
    first = DataTF((PresentationDataValue(3, True, True, whole),)).encode()
    found = [(first, 2, 4, "big", "PDU"), (first, 6, 4, "big", "value")]
    start = 0
    while start < len(whole):
        _, element, length = struct.unpack_from("<HHI", whole, start)
        found.append((first, 12 + start + 4, 4, "little", f"element (0000,{element:04X})"))
        start += 8 + length
    return found


def test_every_length_field_of_a_message_may_lie(daemon, associate, load):
    """A-ABORT from the service-provider, or at the end of the message time where more was promised than came."""
    one = daemon(timeouts={"message": "1s"}, limits={"associations": 500, "associations_per_address": 500})
    with load(one):
        asked = []
        for raw, offset, size, order, name in fields_of_message():
            true = int.from_bytes(raw[offset : offset + size], order)
            for lie in lies(size, true):
                client = associate(one)
                client.send(raw[:offset] + lie.to_bytes(size, order) + raw[offset + size :])
                asked.append((name, lie, client))
        assert len(asked) > 50
        for name, lie, client in asked:
            answer = client.receive(5.0)
            assert isinstance(answer, Abort), f"{name} as {lie}: {answer}"
            if name.startswith("element"):
                assert answer.source == 2, f"{name} as {lie}: {answer}"
    nothing_failed(one)
    assert one.spool() == one.stored() == []


@pytest.mark.parametrize("lie", [0, 1, 0xFFFE, 0xFFFFFFF0, 0xFFFFFFFF])
@pytest.mark.parametrize("tag", [0x00080016, 0x00080018, 0x0020000D])
def test_a_length_in_the_data_set_may_lie(shared, connect, contexts, echo, data_set, lie, tag):
    """An answer that is no lie itself: stored byte for byte, or refused; the association goes on."""
    one = shared
    uid = f"1.2.{tag}.{lie}"
    raw = bytearray(data_set(uid))
    at = raw.index(struct.pack("<HH", tag >> 16, tag & 0xFFFF)) + 4
    raw[at : at + 4] = lie.to_bytes(4, "little")
    before = one.stored()
    client = connect(one.port)
    client.associate(contexts)
    client.send_message(
        3,
        CStoreRQ(message_id=1, affected_sop_class_uid=CT, affected_sop_instance_uid=uid, has_data_set=True),
        bytes(raw),
    )
    status = client.receive_command().status
    new = [path for path in one.stored() if path not in before]
    assert status in (0x0000, 0xB007) if new else status & 0xF000 in (0xA000, 0xC000), f"{status:04X}"
    assert all(path.read_bytes().endswith(raw) for path in new)
    assert echo(client) == 0
    client.release()
    assert one.spool() == []
    nothing_failed(one)


@pytest.fixture(scope="module")
def shared(shared_daemon):
    return shared_daemon()


# -- PDUs in the wrong state


@pytest.mark.parametrize(
    ("raw", "answer"),
    [
        pytest.param(ReleaseRQ().encode(), Abort(0, 0), id="release"),
        pytest.param(ReleaseRP().encode(), Abort(0, 0), id="release answer"),
        pytest.param(AssociateRJ(1, 1, 1).encode(), Abort(0, 0), id="rejection"),
        pytest.param(b"\x02\0\0\0\0\xb6", Abort(0, 0), id="acceptance"),
        pytest.param(DataTF((PresentationDataValue(1, True, True, b"ab"),)).encode(), Abort(0, 0), id="data"),
        pytest.param(b"\x99\0\0\0\0\x04", Abort(0, 0), id="unknown"),
        pytest.param(Abort(0, 0).encode(), None, id="abort"),
    ],
)
def test_a_pdu_before_the_association_gets_the_answer_of_the_table(shared, connect, raw, answer):
    client = connect(shared.port)
    client.send(raw)
    assert client.receive() == answer
    nothing_failed(shared)


@pytest.mark.parametrize(
    ("raw", "answer"),
    [
        pytest.param(REQUEST, Abort(2, 2), id="request"),
        pytest.param(b"\x02\0\0\0\0\xb6", Abort(2, 2), id="acceptance"),
        pytest.param(AssociateRJ(1, 1, 1).encode(), Abort(2, 2), id="rejection"),
        pytest.param(ReleaseRP().encode(), Abort(2, 2), id="release answer"),
        pytest.param(b"\x99\0\0\0\0\x04", Abort(2, 1), id="unknown"),
        pytest.param(b"\x05\0\0\0\0\x05", Abort(2, 6), id="wrong length"),
        pytest.param(Abort(0, 0).encode(), None, id="abort"),
    ],
)
def test_a_pdu_inside_the_association_gets_the_answer_of_the_table(shared, associate, raw, answer):
    client = associate(shared)
    client.send(raw)
    assert client.receive() == answer
    nothing_failed(shared)


# -- silence


def test_silence_before_an_association_is_closed_at_artim_and_told_in_one_line_each(daemon, connect, load):
    one = daemon(timeouts={"artim": "1s"})
    with load(one):
        began = time.monotonic()
        clients = [connect(one.port) for _ in range(3)]
        for client, count in zip(clients, (0, 6, 60), strict=True):
            client.send(REQUEST[:count])
        for client in clients:
            assert client.is_closed_by_peer(5.0)
            assert 0.9 <= time.monotonic() - began < 2
        lines = one.wait_for_logs(without_association, 3)
    assert sorted(line["bytes_received"] for line in lines) == [0, 6, 60]
    assert all("no A-ASSOCIATE-RQ came in time (timeouts.artim)" in line["ended"] for line in lines)
    assert len([line for line in one.logs if without_association(line)]) == 3
    nothing_failed(one)


def test_silence_inside_an_association_ends_at_idle(daemon, associate, load):
    one = daemon(timeouts={"idle": "1s"})
    with load(one):
        client = associate(one)
        began = time.monotonic()
        assert client.receive() == Abort(0, 0)
        assert 0.9 <= time.monotonic() - began < 2
        client.close()
        (line,) = one.associations()
    assert "timeouts.idle" in line["ended"]


def test_300_silent_connections_keep_nobody_out(daemon, connect, load, echo, contexts, peer):
    """The oldest of them make way; an honest client is answered at once, also DCMTK's."""
    one = daemon()
    echoscu = peer("echoscu")
    with load(one):
        silent = [connect(one.port) for _ in range(300)]
        began = time.monotonic()
        client = connect(one.port)
        assert isinstance(client.associate(contexts), AssociateAC)
        assert echo(client) == 0
        assert time.monotonic() - began < 1
        subprocess.run([echoscu, "127.0.0.1", str(one.port)], check=True, timeout=5)
        # 64 is limits.pending_per_address.
        assert all(one.is_closed_by_peer(5.0) for one in silent[: 300 - 64])
    lines = one.wait_for_logs(without_association, 300 - 64)
    assert all("limits.pending" in line["ended"] for line in lines)


def test_a_thousand_connections_that_come_and_go_leave_nothing_behind(daemon, load, process, wait_for):
    """Closed and reset in turn."""
    one = daemon()
    port = one.port
    with load(one):
        looked = process(one)
        wait_for(lambda: looked.threads < 10)
        threads, descriptors = looked.threads, len(looked.descriptors)
        for number in range(1000):
            client = socket.create_connection(("127.0.0.1", port))
            if number % 2:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        wait_for(lambda: looked.threads <= threads and len(looked.descriptors) <= descriptors, "the old count")
    nothing_failed(one)


# -- half a data set


def ends_by(client, how: str) -> None:
    if how == "reset":
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    elif how == "half-closed":
        client.socket.shutdown(socket.SHUT_WR)
    elif how == "closed":
        client.close()


@pytest.mark.parametrize("how", ["closed", "half-closed", "reset", "silent", "aborted", "released"])
def test_a_data_set_that_stops_half_way_leaves_no_file(daemon, associate, begin_store, load, wait_for, how):
    one = daemon(timeouts={"message": "1s"})
    with load(one):
        client = associate(one)
        began = time.monotonic()
        begin_store(client, "1.2.3.4.5")
        wait_for(lambda: one.spool(), "the temporary file")
        if how == "aborted":
            client.send(Abort(0, 0).encode())
        elif how == "released":
            client.send(ReleaseRQ().encode())
            assert client.receive() == Abort(2, 2)
        else:
            ends_by(client, how)
        if how == "silent":
            assert client.receive() == Abort(0, 0)
            assert 0.9 <= time.monotonic() - began < 2.5
        wait_for(lambda: not one.spool(), "an empty spool")
        client.close()
        (line,) = one.associations()
    assert one.stored() == []
    assert line["level"] == "warning"
    assert line["messages"] == {}
    nothing_failed(one)


def test_a_drip_below_the_minimum_rate_is_ended(daemon, associate, begin_store, load):
    """A byte every 20 ms where 1,000 a second are due."""
    one = daemon(timeouts={"message": "1s"}, limits={"minimum_rate": 1000})
    with load(one):
        client = associate(one)
        kept: list[bytes] = []
        begin_store(client, "1.2.3.4.5", pixels=4000)
        real, client.send = client.send, kept.append
        begin_store(client, "1.2.3.4.6", pixels=4000)
        over = threading.Event()

        def drip() -> None:
            with suppress(OSError):
                for byte in b"".join(kept[1:]):
                    if over.wait(0.02):
                        return
                    real(bytes((byte,)))

        began = time.monotonic()
        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        assert client.receive() == Abort(0, 0)
        assert 0.5 <= time.monotonic() - began < 3
        over.set()
        thread.join(5)
        client.close()
        (line,) = one.associations()
    assert "timeouts.message" in line["ended"]
    assert one.stored() == one.spool() == []


def test_a_command_that_never_ends_is_refused_at_its_limit(daemon, associate, load, process):
    one = daemon(limits={"command_set": "64KiB"})
    with load(one):
        client = associate(one)
        before = process(one).resident
        part = DataTF((PresentationDataValue(1, True, False, bytes(16000)),)).encode()
        with suppress(ConnectionError):
            for _ in range(2000):
                client.send(part)
        assert client.receive() == Abort(2, 6)
        assert process(one).resident - before < 8 * MiB
    nothing_failed(one)


def test_a_data_set_that_never_ends_is_refused_at_its_limit(daemon, associate, begin_store, load, wait_for):
    """A700 when it can be said; what goes on for as long again is cut off."""
    one = daemon(limits={"data_set": "1MiB"})
    with load(one):
        client = associate(one)
        begin_store(client, "1.2.3.4.5")
        part = DataTF((PresentationDataValue(3, False, False, bytes(16000)),)).encode()
        with suppress(ConnectionError):
            for _ in range(2000):
                client.send(part)
        assert client.receive() == Abort(2, 2)
        wait_for(lambda: not one.spool())
    assert one.stored() == []
    nothing_failed(one)


# -- not DICOM at all


def strangers() -> list[bytes]:
    generator = random.Random(1)
    hello = bytes.fromhex("16030100c8010000c40303") + generator.randbytes(194)
    return [
        b"GET / HTTP/1.1\r\nHost: pacs\r\n\r\n",
        hello,
        b"SSH-2.0-scanner\r\n",
        b"\x00",
        b"\r\n\r\n",
        b"\x00" * 2000,
        b"\xff" * 2000,
        *(generator.randbytes(generator.randrange(1, 3000)) for _ in range(40)),
    ]


def test_port_scanners_are_closed_in_time_and_told_in_one_line_each(daemon, connect, load):
    one = daemon(timeouts={"artim": "1s"}, limits={"pending_per_address": 200})
    sent = strangers()
    with load(one):
        clients = [connect(one.port) for _ in sent]
        for client, raw in zip(clients, sent, strict=True):
            client.send(raw)
        began = time.monotonic()
        assert all(client.is_closed_by_peer(5.0) for client in clients)
        assert time.monotonic() - began < 3
        lines = one.wait_for_logs(without_association, len(sent))
    assert len(lines) == len(sent)
    assert all(line["bytes_received"] for line in lines)
    nothing_failed(one)


def test_echoes_of_two_peers_do_not_mix(daemon, associate):
    """A last word on order: many messages in one go are answered each, in order, on their own connection."""
    one = daemon()
    clients = [associate(one) for _ in range(2)]
    for first, client in enumerate(clients):
        for number in range(200):
            client.send_message(1, CEchoRQ(message_id=first * 1000 + number, affected_sop_class_uid=VERIFICATION))
    for first, client in enumerate(clients):
        answered = [client.receive_command().message_id_being_responded_to for _ in range(200)]
        assert answered == [first * 1000 + number for number in range(200)]
