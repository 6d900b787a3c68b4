"""Any bytes into the core either decode or give the table's action, and never another exception.

Framer, Machine and Assembler run together as a connection runs them (``conftest.Core``); whatever is not a
ProtocolError passes through and fails the test.

``SCPD_FUZZ_SECONDS`` is how long new seeds are tried; without it a fixed few are. A failure prints its seed:
``SCPD_FUZZ_SEED`` tries that one alone.
"""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scpd.association.events import Event, State

if TYPE_CHECKING:
    from collections.abc import Iterator

FIXED_SEEDS = range(400)
LENGTHS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 67, 68, 0x4000, 0x4001, 0xFFFF, 0x10000, 0x10001, 0x7FFFFFFF, 0xFFFFFFFF)
SHORT_LENGTHS = (0, 1, 2, 3, 4, 5, 0xFF, 0x4000, 0xFFFE, 0xFFFF)


def seeds() -> Iterator[int]:
    if "SCPD_FUZZ_SEED" in os.environ:
        yield int(os.environ["SCPD_FUZZ_SEED"])
        return
    seconds = float(os.environ.get("SCPD_FUZZ_SECONDS", "0"))
    if not seconds:
        yield from FIXED_SEEDS
        return
    end, fresh = time.monotonic() + seconds, random.SystemRandom()
    while time.monotonic() < end:
        yield fresh.getrandbits(64)


# Mutations: (PDUs, random) → PDUs


def flip_bits(pdus: list[bytearray], rng: random.Random) -> None:
    pdu = rng.choice(pdus)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        pdu[rng.randrange(len(pdu))] ^= 1 << rng.randrange(8)


def cut(pdus: list[bytearray], rng: random.Random) -> None:
    pdu = rng.choice(pdus)
    del pdu[rng.randrange(len(pdu)) :]


def remove_some(pdus: list[bytearray], rng: random.Random) -> None:
    pdu = rng.choice(pdus)
    start = rng.randrange(len(pdu))
    del pdu[start : start + rng.choice((1, 2, 4, 6, 12))]


def repeat_some(pdus: list[bytearray], rng: random.Random) -> None:
    pdu = rng.choice(pdus)
    start = rng.randrange(len(pdu))
    piece = pdu[start : start + rng.choice((1, 2, 4, 6, 12, 60))]
    pdu[start:start] = piece * rng.choice((1, 1, 30))


def insert_noise(pdus: list[bytearray], rng: random.Random) -> None:
    pdu = rng.choice(pdus)
    start = rng.randrange(len(pdu) + 1)
    pdu[start:start] = rng.randbytes(rng.choice((1, 2, 4, 6, 100)))


def lie_in_header(pdus: list[bytearray], rng: random.Random) -> None:
    rng.choice(pdus)[2:6] = rng.choice(LENGTHS).to_bytes(4)


def lie_somewhere(pdus: list[bytearray], rng: random.Random) -> None:
    """A length inside, wherever one may be: 16 bits or 32, of either byte order; the PDU's own stays true."""
    pdu = rng.choice(pdus)
    start = rng.randrange(6, max(len(pdu) - 3, 7))
    order = rng.choice(("big", "little"))
    if rng.random() < 0.5:
        pdu[start : start + 2] = rng.choice(SHORT_LENGTHS).to_bytes(2, order)
    else:
        pdu[start : start + 4] = rng.choice(LENGTHS).to_bytes(4, order)


def repair_header(pdus: list[bytearray], _: random.Random) -> None:
    """So that what was changed is met behind the first check."""
    for pdu in pdus:
        if len(pdu) >= 6:
            pdu[2:6] = (len(pdu) - 6).to_bytes(4)


def repeat_pdu(pdus: list[bytearray], rng: random.Random) -> None:
    pdus.insert(rng.randrange(len(pdus) + 1), bytearray(rng.choice(pdus)))


def swap_pdus(pdus: list[bytearray], rng: random.Random) -> None:
    first, second = rng.randrange(len(pdus)), rng.randrange(len(pdus))
    pdus[first], pdus[second] = pdus[second], pdus[first]


def drop_pdu(pdus: list[bytearray], rng: random.Random) -> None:
    if len(pdus) > 1:
        del pdus[rng.randrange(len(pdus))]


def change_type(pdus: list[bytearray], rng: random.Random) -> None:
    rng.choice(pdus)[0] = rng.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 0xFF))


MUTATIONS = (
    *(flip_bits, cut, remove_some, repeat_some, insert_noise, lie_in_header, lie_somewhere, lie_somewhere),
    *(repair_header, repair_header, repeat_pdu, swap_pdus, drop_pdu, change_type),
)


def chunks(stream: bytes, rng: random.Random) -> Iterator[bytes]:
    longest = rng.choice((1, 7, 100, 5000, len(stream) + 1))
    start = 0
    while start < len(stream):
        size = rng.randint(1, longest)
        yield stream[start : start + size]
        start += size


def outcome(core, stream: list[bytes], **how: object) -> tuple:
    """Everything that can be seen of an association that receives these chunks."""
    one = core(**how)
    for chunk in stream:
        one.feed(chunk)
    one.end()
    return one.trace, one.sent, one.messages


def held_to_the_table(trace: list, table_says) -> None:
    assert all(table_says(*step) for step in trace), trace
    assert all(step[2] == after[1] for step, after in zip(trace, trace[1:], strict=False)), trace
    assert trace[-1][2] is State.STA1


def run(seed: int, core, conversations, table_says) -> None:
    rng = random.Random(seed)
    pdus = [bytearray(pdu) for pdu in rng.choice(conversations)]
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3, 6))):
        rng.choice(MUTATIONS)(pdus, rng)
        pdus = [pdu for pdu in pdus if pdu] or [bytearray(b"\0")]
    stream = b"".join(pdus)
    how = {
        "is_requestor": rng.random() < 0.3,
        "release_after": rng.choice((-1, -1, 0, 1, 2)),
        "abort_after": rng.choice((-1, -1, -1, 3)),
    }
    whole = outcome(core, [stream], **how)
    held_to_the_table(whole[0], table_says)
    assert outcome(core, list(chunks(stream, rng)), **how) == whole


def test_mutated_conversations(core, conversations, table_says):
    """Bit flips, cuts, repetitions, lengths that lie: the table's action, the same in whatever cut they arrive."""
    for seed in seeds():
        try:
            run(seed, core, conversations, table_says)
        except Exception as error:
            error.add_note(f"to see this again: SCPD_FUZZ_SEED={seed}")
            print(f"SCPD_FUZZ_SEED={seed}")
            raise


@given(raw=st.binary(max_size=300), is_requestor=st.booleans())
def test_any_bytes_at_first(raw, is_requestor, core, table_says):
    held_to_the_table(outcome(core, [raw], is_requestor=is_requestor)[0], table_says)


@given(
    pdus=st.lists(
        st.builds(
            lambda kind, body, lie: bytes((kind, 0)) + (len(body) if lie is None else lie).to_bytes(4) + body,
            st.integers(0, 8),
            st.binary(max_size=60) | st.binary(max_size=30).map(lambda tail: bytes(68) + tail),
            st.none() | st.none() | st.sampled_from(LENGTHS),
        ),
        max_size=8,
    ),
    at=st.integers(0, 8),
    release_after=st.sampled_from([-1, 0, 1]),
    places=st.lists(st.integers(0, 2000), max_size=8),
)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_any_pdus_in_the_middle_of_an_association(pdus, at, release_after, places, core, conversations, table_says):
    valid = conversations[0]
    stream = b"".join([*valid[:at], *pdus, *valid[at:]])
    whole = outcome(core, [stream], release_after=release_after)
    held_to_the_table(whole[0], table_says)
    borders = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    pieces = [stream[start:end] for start, end in zip(borders, borders[1:], strict=False)]
    assert outcome(core, pieces, release_after=release_after) == whole


def test_the_valid_conversations_go_to_their_end(core, conversations):
    """So that the mutations begin where there is something to break."""
    trace, sent, messages = outcome(core, conversations[0])
    assert [event for event, *_ in trace] == [
        *(Event.ACCEPTED_CONNECTION, Event.ASSOCIATE_RQ, Event.ACCEPT),
        *(Event.DATA_TF, Event.RELEASE_RQ, Event.RELEASE_RESPONSE, Event.CLOSED),
    ]
    assert len(sent) == 6
    assert [len(one) if isinstance(one, bytes) else one.NAME for one in messages] == [
        *("C-ECHO", "C-STORE", 256 + 9000 + 8, "C-FIND", 20, "C-ECHO"),
    ]
    trace, *_ = outcome(core, conversations[1], is_requestor=True, release_after=4)
    assert trace[-1][0] is Event.RELEASE_RP


@pytest.mark.parametrize(
    ("is_requestor", "release_after", "last"),
    [(True, 1, [State.STA9, State.STA11, State.STA1]), (False, 1, [State.STA10, State.STA12, State.STA13, State.STA1])],
)
def test_release_collisions_are_reached(is_requestor, release_after, last, core, conversations):
    talk = conversations[2] if not is_requestor else [conversations[1][0], *conversations[2][1:]]
    trace, *_ = outcome(core, [talk[0], talk[1], talk[3], talk[4]], is_requestor=is_requestor, release_after=1)
    assert [after for *_, after in trace][-len(last) :] == last


def test_mutations_reach_every_connected_state_and_break_off_there(core, conversations):
    """A fuzzer that never gets past the first check would prove nothing."""
    reached, broken = set(), set()
    for seed in range(300):
        rng = random.Random(seed)
        pdus = [bytearray(pdu) for pdu in conversations[seed % len(conversations)]]
        rng.choice(MUTATIONS)(pdus, rng)
        trace, *_ = outcome(
            core, [b"".join(pdus)], is_requestor=seed % len(conversations) == 1, release_after=rng.choice((-1, 1, 2))
        )
        reached |= {after for *_, after in trace}
        broken |= {before for event, before, _ in trace if event is Event.INVALID_PDU}
    assert {State.STA2, State.STA3, State.STA5, State.STA6, State.STA7, State.STA8, State.STA13} <= reached
    assert {State.STA2, State.STA6} <= broken
