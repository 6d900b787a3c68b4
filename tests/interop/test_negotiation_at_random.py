"""Negotiation at random: pynetdicom's acceptor and ours, configured alike, get the same A-ASSOCIATE-RQ bytes.

Both answer the same and tell their handlers the same, or the difference has a name in ``DIFFERENCES`` that says why
ours is right. A request that pynetdicom does not get over (a *stumble*) it is asked again without what it stumbled over,
so that the rest of the answer is compared too.

``SCPD_NEGOTIATION_SEED`` repeats a run, ``SCPD_NEGOTIATION_COUNT`` is the number of requests.
"""

from __future__ import annotations

import logging
import os
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from scpd import AE, build_role, evt
from scpd.dimse import codec
from scpd.dimse.command import CEchoRQ
from scpd.errors import ScpdError
from scpd.wire.fields import counted
from scpd.wire.pdu import Abort, AssociateAC, AssociateRJ, DataTF

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# pydicom's and pynetdicom's warnings are about what the requests hold.
pytestmark = [pytest.mark.interop, pytest.mark.filterwarnings("ignore::UserWarning")]

SEED = int(os.environ.get("SCPD_NEGOTIATION_SEED") or random.SystemRandom().randrange(10**9))
COUNT = int(os.environ.get("SCPD_NEGOTIATION_COUNT") or 700)
SETUPS = 10
PATIENCE = 10.0  # seconds until an answer that must come counts as never
SHOWN = 3  # so many requests without explanation are enough

DICOM = "1.2.840.10008.3.1.1.1"
VERIFICATION, CT, MR = "1.2.840.10008.1.1", "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
# Importing pynetdicom adds UIDs to pydicom's dictionary: none of those is here. ODD has a leading zero, so it is no UID.
PRIVATE, PRIVATE_SYNTAX, ODD = "1.3.6.1.4.1.99999.1.7", "1.3.6.1.4.1.99999.2.1", "1.3.6.1.4.1.99999.01"
SOP_CLASSES = (
    *(VERIFICATION, CT, MR, PRIVATE),
    *("1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.2.1"),
    *("1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.12.1"),
    *("1.2.840.10008.5.1.4.1.1.88.11", "1.2.840.10008.5.1.4.1.1.104.1", "1.2.840.10008.5.1.4.1.1.128"),
    *("1.2.840.10008.5.1.4.1.2.1.1", "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.3"),
    *("1.2.840.10008.5.1.4.31", "1.2.840.10008.1.20.1", "1.3.6.1.4.1.99999.1.8"),
)
UNSUPPORTED = ("1.2.840.10008.5.1.4.1.1.481.1", "1.3.6.1.4.1.99999.1.9", DICOM, ODD)
TRANSFER_SYNTAXES = (
    *(IMPLICIT, EXPLICIT, "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.50"),
    *("1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5"),
    PRIVATE_SYNTAX,
)
UNKNOWN_SYNTAXES = ("1.3.6.1.4.1.99999.2.2", "1.2.840.10008.1.2.4.57", VERIFICATION, ODD)
STORAGE_SERVICE, NEVER_ASKED = "1.2.840.10008.4.2", "1.3.6.1.4.1.99999.3.1"
COMBINATIONS = tuple(product((None, False, True), repeat=2))


# -- how both are set up


class Supported(NamedTuple):
    """One supported context."""

    sop_class: str
    syntaxes: tuple[str, ...]
    scu_role: bool | None = None
    scp_role: bool | None = None


@dataclass(frozen=True)
class Setup:
    """An acceptor, whoever it is. ``window`` is what its handler returns, None without handler."""

    contexts: tuple[Supported, ...]
    title: str = "ACCEPTOR"
    require_called: bool = False
    require_calling: tuple[str, ...] = ()
    maximum_length: int = 16382
    version_name: str | None = "ALIKE"
    identity: bool = False
    extended: bool = False
    common: bool = False
    window: tuple[int, int] | None = None


def any_setup(rng: random.Random) -> Setup:
    classes = rng.sample(SOP_CLASSES, rng.randint(6, len(SOP_CLASSES)))
    supported = [
        Supported(
            one,
            tuple(rng.sample(TRANSFER_SYNTAXES, rng.choice((1, 2, 3, 5)))),
            *rng.choice((*COMBINATIONS, *product((False, True), repeat=2))),
        )
        for one in classes
    ]
    return Setup(
        tuple(supported),
        title=rng.choice(("ACCEPTOR", "A", "SIXTEEN LETTERS.")),
        require_called=rng.random() < 0.4,
        require_calling=("ALPHA", "BETA") if rng.random() < 0.3 else (),
        maximum_length=rng.choice((4096, 16382, 16384, 1 << 20)),
        version_name=rng.choice(("ALIKE", None)),
        identity=rng.random() < 0.6,
        extended=rng.random() < 0.6,
        common=rng.random() < 0.6,
        window=rng.choice((None, (1, 1), (3, 5), (0, 0))),
    )


class Heard:
    """What an acceptor's handlers were told about one request; ``settled`` when its association is accepted."""

    def __init__(self) -> None:
        self.told: dict[tuple[str, Any], Any] = {}
        self.settled = threading.Event()


class Handlers:
    """The same functions for both. A request is known by the requestor's implementation class UID."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._heard: dict[str, Heard] = {}

    def bound(self, events: Any) -> list[tuple[Any, Callable[[Any], Any]]]:
        setup = self._setup
        wanted = {
            events.EVT_ACCEPTED: self.accepted,
            events.EVT_USER_ID: setup.identity and self.identity,
            events.EVT_SOP_EXTENDED: setup.extended and self.extended,
            events.EVT_SOP_COMMON: setup.common and self.common,
            events.EVT_ASYNC_OPS: setup.window is not None and self.window,
        }
        return [(event, handler) for event, handler in wanted.items() if handler]

    def listen(self, request: Request) -> Heard:
        """What will be heard of ``request``."""
        heard = self._heard[request.class_uid] = Heard()
        return heard

    def accepted(self, event: Any) -> None:
        heard = self._heard_of(event)
        for one in event.assoc.accepted_contexts:
            held = (str(one.abstract_syntax), str(one.transfer_syntax[0]), one.as_scu, one.as_scp)
            heard.told["held", one.context_id] = held
        for one in event.assoc.rejected_contexts:
            heard.told["held", one.context_id] = (str(one.abstract_syntax), one.result)
        heard.settled.set()

    def identity(self, event: Any) -> tuple[Any, Any]:
        primary, secondary = event.primary_field, event.secondary_field or b""
        self._heard_of(event).told["heard", "identity"] = (event.user_id_type, primary, secondary)
        if primary.startswith(b"raise"):
            raise RuntimeError("as the request wants it")
        response = {b"silent": None, b"text": "text"}.get(primary, b"ticket for " + primary)
        return (1 if primary == b"one" else primary != b"refuse"), response

    def extended(self, event: Any) -> dict[str, bytes]:
        asked = {str(uid): value for uid, value in event.app_info.items()}
        if asked:  # pynetdicom asks without a question
            self._heard_of(event).told["heard", "extended"] = asked
        if b"raise" in asked.values():
            raise RuntimeError("as the request wants it")
        answers = {uid: value[::-1] for uid, value in asked.items() if not value.startswith(b"\0")}
        return {**answers, NEVER_ASKED: b"more"} if b"\xffmore" in asked.values() else answers

    def common(self, event: Any) -> dict[str, Any]:
        asked = {
            str(uid): (str(one.service_class_uid), tuple(map(str, one.related_general_sop_class_identification)))
            for uid, one in event.items.items()
        }
        if asked:  # as above
            self._heard_of(event).told["heard", "common"] = asked
        return event.items

    def window(self, event: Any) -> tuple[int, int]:
        proposed = (event.nr_invoked, event.nr_performed)
        if proposed != (1, 1):  # as above: pynetdicom does not tell it from none
            self._heard_of(event).told["heard", "window"] = proposed
        return self._setup.window

    def _heard_of(self, event: Any) -> Heard:
        return self._heard[str(event.assoc.requestor.implementation_class_uid)]


class Acceptor(NamedTuple):
    """One that runs; ``stop`` stops it."""

    port: int
    handlers: Handlers
    stop: Callable[[], None]


def support(entity: Any, contexts: tuple[Supported, ...]) -> None:
    """In two steps where there are two transfer syntaxes: the second call adds to the first."""
    for one in contexts:
        entity.add_supported_context(one.sop_class, list(one.syntaxes[:1]))
        if one.syntaxes[1:]:
            entity.add_supported_context(one.sop_class, list(one.syntaxes[1:]))


def configured(entity: Any, setup: Setup) -> Any:
    support(entity, setup.contexts)
    entity.require_called_aet = setup.require_called
    entity.require_calling_aet = list(setup.require_calling)
    entity.maximum_pdu_size = setup.maximum_length
    entity.implementation_class_uid = "1.3.6.1.4.1.99999.4.1"
    entity.implementation_version_name = setup.version_name
    entity.maximum_associations = 1000
    return entity


def ours(setup: Setup, handlers: Handlers | None = None) -> Acceptor:
    handlers = handlers or Handlers(setup)
    entity = configured(AE(setup.title), setup)
    for one in setup.contexts:
        entity.add_supported_context(one.sop_class, list(one.syntaxes), one.scu_role, one.scp_role)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers.bound(evt))
    return Acceptor(server.server_address[1], handlers, server.shutdown)


def theirs(setup: Setup, pynetdicom: Any) -> Acceptor:
    handlers = Handlers(setup)
    entity = configured(pynetdicom.AE(setup.title), setup)
    entity.acse_timeout = 5  # so long stay the threads of an association that ended before it was indicated
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers.bound(pynetdicom.evt))
    # It does not start with one role None and the other not, but negotiates with them.
    roles = {one.sop_class: (one.scu_role, one.scp_role) for one in setup.contexts}
    for context in server.contexts:
        context.scu_role, context.scp_role = roles[context.abstract_syntax]
    return Acceptor(server.server_address[1], handlers, server.shutdown)


# -- what both are asked


class Context(NamedTuple):
    """A proposed presentation context; ``padded`` puts a null behind its names."""

    number: int
    abstract_syntax: str
    syntaxes: tuple[str, ...]
    padded: bool = False


class Role(NamedTuple):
    sop_class: str
    scu: bool
    scp: bool


class Common(NamedTuple):
    sop_class: str
    service_class: str
    related: tuple[str, ...] = ()


class Identity(NamedTuple):
    kind: int
    positive_response: bool
    primary: bytes
    secondary: bytes = b""


@dataclass(frozen=True)
class Request:
    """An A-ASSOCIATE-RQ. ``noise`` is the seed for reserved bytes, ``order`` for that of its items; 0 is none."""

    contexts: tuple[Context, ...]
    class_uid: str = "1.3.6.1.4.1.99999.5.1"
    version: int = 1
    called: bytes = b"ACCEPTOR".ljust(16)
    calling: bytes = b"ALPHA".ljust(16)
    application: str | None = DICOM
    maximum_length: int | None = 16384
    version_name: str | None = "RANDOM"
    window: tuple[int, int] | None = None
    roles: tuple[Role, ...] = ()
    extended: tuple[tuple[str, bytes], ...] = ()
    common: tuple[Common, ...] = ()
    identities: tuple[Identity, ...] = ()
    unknown_items: tuple[tuple[int, bytes], ...] = ()
    unknown_sub_items: tuple[tuple[int, bytes], ...] = ()
    noise: int = 0
    order: int = 0

    def encode(self) -> bytes:
        """The whole PDU (PS3.8 9.3.2)."""
        noise = self._reserved()
        items = [[self._item(noise, 0x10, self.application.encode())]] if self.application is not None else []
        items += [[self._context(noise, one) for one in self.contexts]]
        items += [[self._item(noise, 0x50, self._user_information(noise))]]
        items += [[self._item(noise, kind, value)] for kind, value in self.unknown_items]
        titles = self.version.to_bytes(2) + noise(2) + self.called + self.calling + self.reserved
        body = titles + self._joined(items)
        return b"\1" + noise(1) + len(body).to_bytes(4) + body

    @property
    def reserved(self) -> bytes:
        """The 32 bytes that come back."""
        return random.Random(-self.noise).randbytes(32) if self.noise else bytes(32)

    def _reserved(self) -> Callable[[int], bytes]:
        return random.Random(self.noise).randbytes if self.noise else bytes

    def _joined(self, groups: list[list[bytes]]) -> bytes:
        if self.order:
            random.Random(self.order).shuffle(groups)
        return b"".join(one for group in groups for one in group)

    def _item(self, noise: Callable[[int], bytes], kind: int, value: bytes) -> bytes:
        # The second byte of sub-item 57H is its version (PS3.7 table D.3-12).
        return bytes((kind,)) + (b"\0" if kind == 0x57 else noise(1)) + counted(value)

    def _context(self, noise: Callable[[int], bytes], context: Context) -> bytes:
        end = b"\0" if context.padded else b""
        names = [[self._item(noise, 0x30, context.abstract_syntax.encode() + end)]]
        names += [[self._item(noise, 0x40, one.encode() + end) for one in context.syntaxes]]
        return self._item(noise, 0x20, bytes((context.number,)) + noise(3) + self._joined(names))

    def _user_information(self, noise: Callable[[int], bytes]) -> bytes:
        groups: list[list[tuple[int, bytes]]] = [
            [(0x51, self.maximum_length.to_bytes(4))] if self.maximum_length is not None else [],
            [(0x52, self.class_uid.encode())],
            [(0x53, b"".join(one.to_bytes(2) for one in self.window))] if self.window else [],
            [(0x54, counted(one.sop_class.encode()) + bytes((one.scu, one.scp))) for one in self.roles],
            [(0x55, self.version_name.encode())] if self.version_name else [],
            [(0x56, counted(uid.encode()) + information) for uid, information in self.extended],
            [(0x57, b"".join(map(counted, (one[0].encode(), one[1].encode(), _list(one[2]))))) for one in self.common],
            [(0x58, bytes(one[:2]) + counted(one.primary) + counted(one.secondary)) for one in self.identities],
            [*self.unknown_sub_items],
        ]
        return self._joined([[self._item(noise, *one) for one in group] for group in groups])


def _list(uids: tuple[str, ...]) -> bytes:
    return b"".join(counted(uid.encode()) for uid in uids)


def any_request(rng: random.Random, setup: Setup, number: int) -> Request:
    """A request for ``setup``: most of it is what peers send, and each oddity comes in a few of a hundred."""

    def rarely(chance: float, value: Callable[[], Any], otherwise: Any) -> Any:
        return value() if rng.random() < chance else otherwise

    contexts = any_contexts(rng, setup)
    classes = [context.abstract_syntax for context in contexts]
    return Request(
        contexts,
        class_uid=f"1.3.6.1.4.1.99999.5.{number}",
        version=rarely(0.08, lambda: rng.choice((0, 2, 3, 0x8001, 0xFFFE, 0xFFFF)), 1),
        called=any_title(rng, rarely(0.2, lambda: rng.choice(("OTHER", setup.title.lower())), setup.title)),
        calling=any_title(rng, rng.choice(("ALPHA", "BETA", "BETA", "G A M M A"))),
        application=rarely(0.04, lambda: rng.choice((None, "", "1.2.840.10008.3.1.1.2", DICOM + ".1")), DICOM),
        maximum_length=rarely(0.3, lambda: rng.choice((None, 0, 1, 6, 7, 8, 9, 128, 1 << 24, 2**32 - 1)), 16384),
        version_name=rarely(0.2, lambda: rng.choice((None, None, "A", "LONGER THAN SIXTEEN", "1.0\0")), "RANDOM"),
        window=rarely(0.4, lambda: (rng.choice((0, 1, 2, 9)), rng.choice((0, 1, 4, 65535))), None),
        roles=rarely(0.6, lambda: any_roles(rng, classes), ()),
        extended=rarely(0.4, lambda: any_extended(rng, classes), ()),
        common=rarely(0.3, lambda: any_common(rng, classes), ()),
        identities=rarely(0.5, lambda: any_identities(rng), ()),
        unknown_items=rarely(0.02, lambda: ((rng.randrange(0x60, 0x100), rng.randbytes(rng.randrange(9))),), ()),
        unknown_sub_items=rarely(0.03, lambda: ((rng.randrange(0x5A, 0x100), rng.randbytes(rng.randrange(9))),), ()),
        noise=rarely(0.4, lambda: rng.randrange(1, 10**6), 0),
        order=rarely(0.3, lambda: rng.randrange(1, 10**6), 0),
    )


def any_contexts(rng: random.Random, setup: Setup) -> tuple[Context, ...]:
    count = rng.choice((1, 1, 2, 3, 5, 8, 20, rng.randint(1, 128), 128 if rng.random() < 0.3 else 4))
    supported = [one.sop_class for one in setup.contexts]
    numbers = rng.sample(range(1, 256, 2), count) if rng.random() < 0.3 else range(1, 2 * count, 2)
    return tuple(
        Context(
            number,
            rng.choice(supported) if rng.random() < 0.8 else rng.choice((*SOP_CLASSES, *UNSUPPORTED)),
            tuple(rng.choices((*TRANSFER_SYNTAXES, *UNKNOWN_SYNTAXES), k=rng.choice((1, 2, 3, 6)))),
            padded=rng.random() < 0.05,
        )
        for number in numbers
    )


def any_title(rng: random.Random, text: str) -> bytes:
    raw = text.encode()
    if rng.random() < 0.02:
        return bytes(16) if rng.random() < 0.3 else b" " * 16
    if rng.random() < 0.04:
        return raw.ljust(16, b"\0")
    return rng.choice((raw.ljust(16), raw.ljust(16), raw.rjust(16), raw.center(16)))


def any_roles(rng: random.Random, classes: list[str]) -> tuple[Role, ...]:
    chosen = rng.choices((*classes, CT, *UNSUPPORTED), k=rng.choice((1, 2, 4, 12)))
    if rng.random() < 0.8:
        chosen = list(dict.fromkeys(chosen))
    return tuple(Role(one, rng.random() < 0.6, rng.random() < 0.6) for one in chosen)


def any_extended(rng: random.Random, classes: list[str]) -> tuple[tuple[str, bytes], ...]:
    information = (b"", b"\1", b"\1\0\1", b"\0refused", b"\xffmore", b"raise", rng.randbytes(40))
    return tuple((rng.choice((*classes, MR, ODD)), rng.choice(information)) for _ in range(rng.choice((1, 2, 5))))


def any_common(rng: random.Random, classes: list[str]) -> tuple[Common, ...]:
    return tuple(
        Common(one, STORAGE_SERVICE, tuple(rng.choices((*SOP_CLASSES, ODD), k=rng.randrange(3))))
        for one in rng.choices((*classes, MR, ODD), k=rng.choice((1, 2, 4)))
    )


PRIMARIES = (b"user", b"silent", b"refuse", b"raise", b"one", b"text", b"jos\xc3\xa9", b"x" * 3000)


def any_identities(rng: random.Random) -> tuple[Identity, ...]:
    def one() -> Identity:
        kind = rng.randint(1, 5)
        primary = rng.choice((*PRIMARIES, b"user", b"user", b"user"))
        has_secondary = kind == 2 or rng.random() < 0.1
        return Identity(kind, rng.random() < 0.6, primary, b"secret" if has_secondary else b"")

    return (one(), one()) if rng.random() < 0.06 else (one(),)


# -- what they answer


@dataclass(frozen=True)
class Answer:
    """What came back: AC, RJ with its numbers, ABORT, or CLOSED; and each part of an AC by what it is about."""

    outcome: tuple[Any, ...]
    parts: dict[tuple[str, Any], Any] = field(default_factory=dict)


class Seen(NamedTuple):
    """One difference between two answers; None is nothing said."""

    what: str
    key: Any
    ours: Any
    theirs: Any


def ask(acceptor: Acceptor, request: Request, connect: Callable[..., Any]) -> Answer:
    """Its answer to ``request``; an association that comes about is aborted."""
    heard = acceptor.handlers.listen(request)
    client = connect(acceptor.port, timeout=PATIENCE)
    try:
        client.send(request.encode())
        pdu = client.receive(PATIENCE)
        if isinstance(pdu, AssociateAC):
            client.send(Abort().encode())
    except ConnectionError:
        pdu = None
    finally:
        client.close()
    if isinstance(pdu, AssociateAC):
        assert heard.settled.wait(PATIENCE), "it was accepted, but nobody was told"
        return Answer(("AC",), {**accepted(pdu), **heard.told})
    if isinstance(pdu, AssociateRJ):
        return Answer(("RJ", pdu.result, pdu.source, pdu.reason))
    assert pdu is None or isinstance(pdu, Abort), f"{pdu} answers an A-ASSOCIATE-RQ"
    return Answer(("ABORT",) if pdu else ("CLOSED",))


def accepted(pdu: AssociateAC) -> dict[tuple[str, Any], Any]:
    """The parts of an A-ASSOCIATE-AC, with no regard to their order."""
    user = pdu.user_information
    parts: dict[tuple[str, Any], Any] = {
        ("maximum length", ""): user.maximum_length,
        ("window", ""): user.window and (user.window.invoked, user.window.performed),
        ("identity", ""): user.identity_response and user.identity_response.server_response,
        ("echo", "called"): pdu.called_field,
        ("echo", "calling"): pdu.calling_field,
        ("echo", "reserved"): pdu.reserved,
        ("fixed", ""): (pdu.application_context_name, pdu.protocol_version),
        ("implementation", ""): (user.implementation_class_uid, user.implementation_version_name),
        ("not for an answer", ""): (user.common_extended, user.identities),
    }
    several: list[tuple[tuple[str, Any], Any]] = []
    # The transfer syntax of a rejected context is not to be tested (PS3.8 9.3.3.2).
    several += [
        (("context", one.context_id), (one.result, one.transfer_syntax if one.result == 0 else ""))
        for one in pdu.presentation_contexts
    ]
    several += [(("role", one.sop_class_uid), (one.scu_role, one.scp_role)) for one in user.roles]
    several += [(("extended", one.sop_class_uid), one.information) for one in user.extended]
    assert len(dict(several)) == len(several), f"something stands twice in {pdu}"
    parts.update(several)
    return parts


def compared(left: Answer, right: Answer) -> list[Seen]:
    """What differs; of answers that are not alike at all nothing but that."""
    if left.outcome != right.outcome:
        return [Seen("answer", "", left.outcome, right.outcome)]
    keys = sorted({*left.parts, *right.parts}, key=repr)
    every = (Seen(*key, left.parts.get(key), right.parts.get(key)) for key in keys)
    return [seen for seen in every if seen.ours != seen.theirs]


# -- what may differ, and why


class Case(NamedTuple):
    """``request`` is what we were asked; ``told`` what pynetdicom was, without what it has stumbled over so far."""

    setup: Setup
    request: Request
    told: Request
    answer: Answer


class Difference(NamedTuple):
    """Why ours is right, and whether something seen is this; for a stumble also the request without it."""

    reason: str
    explains: Callable[[Case, Seen], bool]
    without: Callable[[Request], Request] | None = None


OUR_RJ = {
    "calling": (1, 1, 3),
    "version": (1, 2, 2),
    "application": (1, 1, 2),
    "called": (1, 1, 7),
    "length": (1, 2, 1),
    "identity": (1, 2, 1),
}
THEIR_RJ = {"version": (1, 2, 2), "calling": (1, 1, 3), "called": (1, 1, 7), "identity": (2, 2, 1)}


def title(raw: bytes) -> str:
    return raw.rstrip(b"\0").strip(b" ").decode()


def claim(request: Request) -> Identity:
    return (*request.identities, Identity(0, False, b""))[0]


def is_wrong(setup: Setup, request: Request) -> dict[str, bool]:
    """What there is to reject the request for, as a whole, in our order."""
    return {
        "calling": bool(setup.require_calling) and title(request.calling) not in setup.require_calling,
        "version": not request.version & 1,
        "application": request.application != DICOM,
        "called": setup.require_called and title(request.called) != setup.title,
        "length": request.maximum_length is not None and 0 < request.maximum_length < 8,
        "identity": setup.identity and claim(request).primary in (b"refuse", b"raise"),
        "identities": setup.identity and len(request.identities) > 1,
        "nonsense": setup.identity and is_nonsense(claim(request)),
    }


def is_nonsense(identity: Identity) -> bool:
    """Whether our handler's answer to it is not one; types 1 and 2 have no response that could be wrong."""
    return identity.primary == b"one" or (identity.primary == b"text" and identity.kind > 2)


def our_reason(case: Case) -> str | None:
    """The first of them."""
    first = next((name for name, wrong in is_wrong(case.setup, case.request).items() if wrong), None)
    return "identity" if first in ("identities", "nonsense") else first


def their_reason(case: Case) -> str | None:
    """The protocol version before all, then the last of those that they look for."""
    wrong = is_wrong(case.setup, case.told)
    return next((name for name in ("version", "identity", "called", "calling") if wrong[name]), None)


def only_we_reject(case: Case, seen: Seen, why: str) -> bool:
    return our_reason(case) == why and seen.ours == ("RJ", *OUR_RJ[why]) and seen.theirs == ("AC",)


def both_reject(case: Case, seen: Seen) -> bool:
    mine, other = our_reason(case), their_reason(case)
    return (
        (mine is not None and other is not None)
        and seen.ours == ("RJ", *OUR_RJ[mine])
        and seen.theirs == ("RJ", *THEIR_RJ[other])
    )


def has_null(request: Request) -> bool:
    return b"\0" in request.called + request.calling


def is_blank(request: Request) -> bool:
    return not (request.called.strip() and request.calling.strip())


def unnull(request: Request) -> Request:
    return replace(request, called=request.called.replace(b"\0", b" "), calling=request.calling.replace(b"\0", b" "))


def unblank(request: Request) -> Request:
    some = b"UNSPECIFIED".ljust(16)
    return replace(
        request,
        called=request.called if request.called.strip() else some,
        calling=request.calling if request.calling.strip() else some,
    )


def known(request: Request) -> Request:
    return replace(request, unknown_items=(), unknown_sub_items=())


def first_roles(request: Request) -> Request:
    roles: dict[str, Role] = {}
    for one in request.roles:
        roles.setdefault(one.sop_class, one)
    return replace(request, roles=tuple(roles.values()))


def are_repeated(request: Request, seen: Seen) -> bool:
    """Whether there is more than one role item, not the same, for the SOP class that ``seen`` is about."""
    classes = {one.number: one.abstract_syntax for one in request.contexts}
    about = seen.key if seen.what == "role" else classes.get(seen.key)
    return len({one for one in request.roles if one.sop_class == about}) > 1


def results(case: Case, sop_class: str) -> set[int]:
    """Our results for all the contexts of a SOP class."""
    numbers = [one.number for one in case.request.contexts if one.abstract_syntax == sop_class]
    return {case.answer.parts["context", number][0] for number in numbers}


def has_odd_version(request: Request) -> bool:
    name = request.version_name or ""
    return len(name) > 16 or "\0" in name


def least(proposed: int, taken: int) -> int:
    return min((count for count in (proposed, taken) if count), default=0)


DIFFERENCES = {
    "only bit 0 of the protocol version counts": Difference(
        "PS3.8 table 9-11: a receiver that implements only version 1 shall only test that bit 0 is set; pynetdicom "
        "wants the value 1.",
        lambda case, seen: (
            seen.what == "answer"
            and seen.theirs == ("RJ", 1, 2, 2)
            and case.told.version & 1 == 1
            and case.told.version != 1
        ),
        lambda request: replace(request, version=1),
    ),
    "unknown items are skipped": Difference(
        "PS3.8 9.3.1 and D.2: items of unrecognized types shall be ignored, and no association rejected because of "
        "them; pynetdicom aborts.",
        lambda case, seen: (
            (seen.what == "answer" and seen.theirs == ("ABORT",))
            and bool(case.told.unknown_items or case.told.unknown_sub_items)
            and not (has_null(case.told) or is_blank(case.told) or has_odd_version(case.told))
        ),
        known,
    ),
    "a version name is not tested": Difference(
        "PS3.7 D.3.3.2: it identifies an implementation, and nothing is negotiated by it: nobody is turned away for "
        "one that is longer than 16 characters or padded; pynetdicom aborts.",
        lambda case, seen: (
            (seen.what == "answer" and seen.theirs == ("ABORT",))
            and has_odd_version(case.told)
            and not (has_null(case.told) or is_blank(case.told))
        ),
        lambda request: replace(request, version_name=None),
    ),
    "a title may be filled up with nulls": Difference(
        "PS3.8 table 9-11 has spaces, but says nothing of the receiver: we read what is meant, and return it byte for "
        "byte; pynetdicom aborts.",
        lambda case, seen: seen.what == "answer" and seen.theirs == ("ABORT",) and has_null(case.told),
        unnull,
    ),
    "a title may be missing": Difference(
        "PS3.8 table 9-11: sixteen spaces mean that no name is specified, and shall not be sent; what a receiver does "
        "is left open. It is a title like any other to us, never one that is required; pynetdicom aborts.",
        lambda case, seen: (
            (seen.what == "answer" and seen.theirs == ("ABORT",)) and not has_null(case.told) and is_blank(case.told)
        ),
        unblank,
    ),
    "the application context name is compared": Difference(
        "PS3.7 A.2.1 has one name, and PS3.8 table 9-21 the reason for others: application context name not supported "
        "(1, 1, 2); pynetdicom does not look.",
        lambda case, seen: seen.what == "answer" and only_we_reject(case, seen, "application"),
    ),
    "a maximum length without room is refused": Difference(
        "PS3.8 D.1 and 9.3.5.1: below 8 bytes no fragment fits, since it has 6 bytes of header and an even length "
        "(annex E.1): such an association could not carry any message; pynetdicom accepts it.",
        lambda case, seen: seen.what == "answer" and only_we_reject(case, seen, "length"),
    ),
    "two user identities are none": Difference(
        "PS3.7 D.3.3.7.1: only one sub-item shall be present. Where somebody verifies it, we do not choose between "
        "two; pynetdicom takes the first.",
        lambda case, seen: (
            seen.what == "answer" and only_we_reject(case, seen, "identity") and len(case.request.identities) > 1
        ),
    ),
    "only True verifies, and only bytes respond": Difference(
        "PS3.7 D.3.3.7 leaves it to the acceptor how to verify: a handler whose answer is neither True nor False, or "
        "whose response is not bytes, is at fault, and whoever was not verified stays outside; pynetdicom lets in.",
        lambda case, seen: (
            (seen.what == "answer" and only_we_reject(case, seen, "identity"))
            and is_nonsense(claim(case.request))
            and len(case.request.identities) == 1
        ),
    ),
    "an identity that is not verified is rejected for good": Difference(
        "PS3.7 D.3.3.7: rejected-permanent, source DICOM UL service-provider (ACSE related function); pynetdicom says "
        "rejected-transient.",
        lambda case, seen: (
            (seen.what == "answer" and both_reject(case, seen)) and our_reason(case) == their_reason(case) == "identity"
        ),
    ),
    "of several reasons to reject one is told": Difference(
        "PS3.8 9.3.4 has room for one and no order: we tell the first that is found, the cheapest first, and ask no "
        "handler afterwards; pynetdicom tells the last.",
        lambda case, seen: (
            (seen.what == "answer" and both_reject(case, seen)) and our_reason(case) != their_reason(case)
        ),
    ),
    "of repeated roles the first counts": Difference(
        "PS3.7 D.3.3.4: one item for each SOP class; what others for the same mean is left open. pynetdicom takes the "
        "last.",
        lambda case, seen: seen.what in ("role", "context", "held") and are_repeated(case.told, seen),
        first_roles,
    ),
    "roles that are turned down are answered": Difference(
        "PS3.7 D.3.3.4: for each item offered the acceptor returns 1 or turns the proposal down by returning 0, also "
        "where that leaves no role and the context is rejected; pynetdicom is silent then, which means default roles.",
        lambda case, seen: (
            (seen.what, seen.ours, seen.theirs) == ("role", (False, False), None)
            and {1} <= results(case, seen.key) <= {1, 4}
            and not are_repeated(case.told, seen)
        ),
    ),
    "a window is answered": Difference(
        "PS3.7 D.3.3.3: one operation at a time is said, where pynetdicom says nothing, which means the same.",
        lambda case, seen: (
            (seen.what, seen.ours, seen.theirs) == ("window", (1, 1), None)
            and case.request.window is not None
            and (case.setup.window is None or case.request.window == (1, 1))
        ),
    ),
    "a window is what the handler says": Difference(
        "PS3.7 D.3.3.3: each number is at most what was proposed, 0 being unlimited; pynetdicom asks its handler and "
        "answers 1, 1.",
        lambda case, seen: (
            (seen.what == "window" and seen.theirs == (1, 1) and case.setup.window is not None)
            and seen.ours == tuple(map(least, case.request.window, case.setup.window))
        ),
    ),
    "a verified user name is answered": Difference(
        "PS3.7 D.3.3.7.2: the response to types 1 and 2 is there and has zero length; pynetdicom sends none.",
        lambda case, seen: (
            (seen.what, seen.ours, seen.theirs) == ("identity", b"", None)
            and (case.setup.identity and claim(case.request).positive_response and claim(case.request).kind in (1, 2))
        ),
    ),
    "a verified identity is answered without a ticket": Difference(
        "PS3.7 D.3.3.7.2: the positive response is the sub-item, whose server response may have zero length; "
        "pynetdicom sends none for a handler that returns no response.",
        lambda case, seen: (
            (seen.what, seen.ours, seen.theirs) == ("identity", b"", None)
            and (
                case.setup.identity and claim(case.request).positive_response and claim(case.request).kind in (3, 4, 5)
            )
            and claim(case.request).primary == b"silent"
        ),
    ),
    "only a passcode is a secondary field": Difference(
        "PS3.7 table D.3-14: the secondary field is for type 2 alone: with others our handler gets None, "
        "pynetdicom's whatever stands there.",
        lambda case, seen: (
            (seen.what, seen.key) == ("heard", "identity")
            and (claim(case.request).kind != 2 and claim(case.request).secondary != b"")
            and seen.ours == (claim(case.request).kind, claim(case.request).primary, b"")
            and seen.theirs == (claim(case.request).kind, claim(case.request).primary, claim(case.request).secondary)
        ),
    ),
    "extended negotiation answers what was asked": Difference(
        "PS3.7 D.3.3.5: an answer is to a sub-item of the request; what a handler returns beside that is left out. "
        "pynetdicom sends it.",
        lambda case, seen: (
            (seen.what, seen.key, seen.ours, seen.theirs) == ("extended", NEVER_ASKED, None, b"more")
            and NEVER_ASKED not in dict(case.request.extended)
        ),
    ),
    "reserved fields come back as they were": Difference(
        "PS3.8 table 9-17: bytes 11 to 74 shall be identical to those of the request; pynetdicom sends the titles "
        "with their spaces at the end, and zeros.",
        lambda case, seen: (
            seen.what == "echo"
            and seen.ours == getattr(case.request, seen.key)
            and seen.theirs == (bytes(32) if seen.key == "reserved" else getattr(case.told, seen.key).strip().ljust(16))
        ),
    ),
}


# -- the comparison


@dataclass
class Pair:
    """Both acceptors of a setup."""

    setup: Setup
    ours: Acceptor
    theirs: Acceptor

    def explain(self, request: Request, connect: Callable[..., Any]) -> set[str]:
        """The names of all differences in the answers to ``request``; an AssertionError for one that has none."""
        answer = ask(self.ours, request, connect)
        told, names = request, set()
        while True:
            case = Case(self.setup, request, told, answer)
            found = {self._name(case, seen) for seen in compared(answer, ask(self.theirs, told, connect))}
            names |= found
            stumbles = [one for one in (DIFFERENCES[name].without for name in found) if one]
            if not stumbles:
                return names
            before = told
            for without in stumbles:
                told = without(told)
            assert told != before, f"{found} is not gone from {told}"

    def _name(self, case: Case, seen: Seen) -> str:
        names = [name for name, one in DIFFERENCES.items() if one.explains(case, seen)]
        assert len(names) == 1, f"{names or 'nothing'} explains {seen}\n{case.setup}\n{case.request}\n{case.told}"
        return names[0]


@pytest.fixture(scope="module")
def pynetdicom(peer):
    module = peer("pynetdicom")
    log = logging.getLogger("pynetdicom")
    before = log.level
    log.setLevel(logging.CRITICAL + 1)
    yield module
    log.setLevel(before)


@pytest.fixture(scope="module")
def pair(pynetdicom) -> Iterator[Callable[[Setup], Pair]]:
    """Both acceptors of a setup, started once."""
    pairs: dict[Setup, Pair] = {}

    def start(setup: Setup) -> Pair:
        if setup not in pairs:
            pairs[setup] = Pair(setup, ours(setup), theirs(setup, pynetdicom))
        return pairs[setup]

    yield start
    stops = [one.stop for each in pairs.values() for one in (each.ours, each.theirs)]
    with ThreadPoolExecutor(len(stops) or 1) as pool:  # each of pynetdicom's takes half a second
        for stopping in [pool.submit(stop) for stop in stops]:
            stopping.result(PATIENCE)


@pytest.mark.parametrize("number", range(SETUPS))
def test_the_same_answer_or_a_named_difference(number, pair, connect, record_property):
    setup = any_setup(random.Random(f"{SEED} setup {number}"))
    both = pair(setup)
    names: Counter[str] = Counter()
    failures: list[str] = []
    for place in range(number, COUNT, SETUPS):
        request = any_request(random.Random(f"{SEED} request {place}"), setup, place)
        try:
            names.update(both.explain(request, connect) or ["the same"])
        except (AssertionError, OSError, ScpdError) as failure:
            failures.append(f"request {place}: {type(failure).__name__}: {failure}\n{request.encode().hex()}")
        if len(failures) == SHOWN:
            break
    record_property("differences", dict(names))
    assert not failures, "\n\n".join((f"SCPD_NEGOTIATION_SEED={SEED} SCPD_NEGOTIATION_COUNT={COUNT}", *failures))


# -- every difference by an example

PLAIN = Setup(
    (
        Supported(CT, (IMPLICIT, EXPLICIT), True, True),
        Supported(MR, (EXPLICIT,), False, False),
        Supported(VERIFICATION, (IMPLICIT,)),
    )
)
STRICT = replace(
    PLAIN,
    require_called=True,
    require_calling=("ALPHA",),
    identity=True,
    extended=True,
    common=True,
    window=(3, 5),
)
CONTEXTS = (Context(1, CT, (EXPLICIT, IMPLICIT)), Context(3, MR, (EXPLICIT,)), Context(5, VERIFICATION, (IMPLICIT,)))
USUAL = Request(CONTEXTS)
RESERVED = "reserved fields come back as they were"
EXAMPLES = {
    "only bit 0 of the protocol version counts": (PLAIN, replace(USUAL, version=0x8001)),
    "unknown items are skipped": (
        PLAIN,
        replace(USUAL, unknown_items=((0x60, b"?"),), unknown_sub_items=((0x5A, b"?"), (0xFF, b""))),
    ),
    "a version name is not tested": (PLAIN, replace(USUAL, version_name="LONGER THAN SIXTEEN")),
    "a title may be filled up with nulls": (STRICT, replace(USUAL, called=b"ACCEPTOR".ljust(16, b"\0"))),
    "a title may be missing": (PLAIN, replace(USUAL, calling=b" " * 16)),
    "the application context name is compared": (PLAIN, replace(USUAL, application="1.2.840.10008.3.1.1.2")),
    "a maximum length without room is refused": (PLAIN, replace(USUAL, maximum_length=7)),
    "two user identities are none": (STRICT, replace(USUAL, identities=(Identity(1, False, b"user"),) * 2)),
    "only True verifies, and only bytes respond": (STRICT, replace(USUAL, identities=(Identity(1, False, b"one"),))),
    "an identity that is not verified is rejected for good": (
        STRICT,
        replace(USUAL, identities=(Identity(2, True, b"refuse", b"secret"),)),
    ),
    "of several reasons to reject one is told": (
        STRICT,
        replace(USUAL, calling=b"GAMMA".ljust(16), called=b"OTHER".ljust(16)),
    ),
    "of repeated roles the first counts": (
        PLAIN,
        replace(USUAL, roles=(Role(CT, True, False), Role(CT, False, True))),
    ),
    "roles that are turned down are answered": (PLAIN, replace(USUAL, roles=(Role(MR, True, True),))),
    "a window is answered": (PLAIN, replace(USUAL, window=(2, 2))),
    "a window is what the handler says": (STRICT, replace(USUAL, window=(2, 0))),
    "a verified user name is answered": (STRICT, replace(USUAL, identities=(Identity(1, True, b"user"),))),
    "a verified identity is answered without a ticket": (
        STRICT,
        replace(USUAL, identities=(Identity(3, True, b"silent"),)),
    ),
    "only a passcode is a secondary field": (
        STRICT,
        replace(USUAL, identities=(Identity(1, False, b"user", b"secret"),)),
    ),
    "extended negotiation answers what was asked": (STRICT, replace(USUAL, extended=((CT, b"\xffmore"),))),
    RESERVED: (PLAIN, replace(USUAL, noise=1)),
}


def test_an_example_of_every_difference_is_here():
    assert EXAMPLES.keys() == DIFFERENCES.keys()


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_difference_is_real(name, pair, connect):
    """Nothing stands in the table that does not happen, alone (a title that is not as theirs comes back as it was)."""
    setup, request = EXAMPLES[name]
    found = pair(setup).explain(request, connect)
    assert name in found
    assert found - {RESERVED} <= {name}


# -- two things that chance alone would not show in full


@pytest.mark.parametrize("proposed", [None, *product((False, True), repeat=2)])
def test_roles_in_all_combinations(proposed, pair, connect):
    """Each proposal against every pair of roles an acceptor may have (PS3.7 D.3.3.4)."""
    classes = SOP_CLASSES[: len(COMBINATIONS)]
    supported = (Supported(uid, (IMPLICIT,), *roles) for uid, roles in zip(classes, COMBINATIONS, strict=True))
    request = Request(
        tuple(Context(2 * place + 1, uid, (IMPLICIT,)) for place, uid in enumerate(classes)),
        roles=tuple(Role(uid, *proposed) for uid in classes) if proposed else (),
    )
    found = pair(Setup(tuple(supported))).explain(request, connect)
    assert found <= {"roles that are turned down are answered"}


@pytest.mark.parametrize("length", [0, 8, 9, 10, 20, 128, 16384, 2**32 - 1])
def test_no_p_data_is_longer_than_the_maximum_length(length, pair, connect):
    """PS3.8 D.1: the response to C-ECHO, whole, from both; 0 is unlimited."""
    both = pair(PLAIN)
    request = replace(USUAL, maximum_length=length)
    assert echoed(both.ours, request, connect) == echoed(both.theirs, request, connect)


def echoed(acceptor: Acceptor, request: Request, connect: Callable[..., Any]) -> tuple[Any, ...]:
    acceptor.handlers.listen(request)
    client = connect(acceptor.port, timeout=PATIENCE)
    client.send(request.encode())
    assert isinstance(client.receive(PATIENCE), AssociateAC)
    client.send_message(CONTEXTS[-1].number, CEchoRQ(message_id=7, affected_sop_class_uid=VERIFICATION))
    gathered, is_last = b"", False
    while not is_last:
        pdu = client.receive(PATIENCE)
        assert isinstance(pdu, DataTF)
        assert len(pdu.encode()) - 6 <= (request.maximum_length or 2**32)
        gathered += b"".join(value.data for value in pdu.values)
        is_last = pdu.values[-1].is_last
    client.release()
    response = codec.decode(gathered)
    return type(response), response.message_id_being_responded_to, response.status, response.affected_sop_class_uid


# -- handlers at fault, and peers that are


class Answers(Handlers):
    """Handlers that answer nothing but ``answer``."""

    def __init__(self, setup: Setup, answer: Any) -> None:
        super().__init__(setup)
        self._answer = answer

    def _give(self, event: Any) -> Any:
        return self._answer

    identity = extended = common = window = _give


def answered(setup: Setup, answer: Any, request: Request, connect: Callable[..., Any]) -> Answer:
    acceptor = ours(setup, Answers(setup, answer))
    try:
        return ask(acceptor, request, connect)
    finally:
        acceptor.stop()


@pytest.mark.parametrize("item", [Common(CT, ODD), Common(CT, STORAGE_SERVICE, (ODD,)), Common(ODD, STORAGE_SERVICE)])
def test_a_peer_that_sends_what_is_no_uid_is_answered(item, pair, connect):
    request = replace(USUAL, common=(item,))
    assert pair(STRICT).explain(request, connect) == set()


@pytest.mark.parametrize(
    ("handled", "answer", "proposed"),
    [
        ("extended", "text", {"extended": ((CT, b"1"),)}),
        ("extended", [CT], {"extended": ((CT, b"1"),)}),
        ("extended", {CT: None}, {"extended": ((CT, b"1"),)}),
        ("extended", {CT: "text"}, {"extended": ((CT, b"1"),)}),
        ("extended", {CT: 5}, {"extended": ((CT, b"1"),)}),
        ("extended", {CT: bytes(0x10000)}, {"extended": ((CT, b"1"),)}),
        ("common", "text", {"common": (Common(CT, STORAGE_SERVICE),)}),
        ("common", [CT], {"common": (Common(CT, STORAGE_SERVICE),)}),
        ("common", {CT: None}, {"common": (Common(CT, STORAGE_SERVICE),)}),
        ("window", (0x10000, 1), {"window": (0, 0)}),
    ],
)
def test_a_handler_that_answers_nonsense_costs_what_was_proposed_not_the_association(
    handled, answer, proposed, connect
):
    setup = replace(PLAIN, **{handled: (1, 1) if handled == "window" else True})
    got = answered(setup, answer, replace(USUAL, **proposed), connect)
    assert got.outcome == ("AC",)
    assert ("extended", CT) not in got.parts


def test_an_identity_whose_response_is_too_long_is_rejected(connect):
    request = replace(USUAL, identities=(Identity(3, True, b"user"),))
    got = answered(replace(PLAIN, identity=True), (True, bytes(0x10000)), request, connect)
    assert got.outcome == ("RJ", 1, 2, 1)


def test_both_ends_have_the_same_roles_after_repeated_proposals():
    """Ours on both sides: the first counts for whoever looks (PS3.7 D.3.3.4)."""
    held: list[tuple[Any, Any]] = []
    acceptor = AE()
    acceptor.add_supported_context(CT, IMPLICIT, True, True)

    def established(event: evt.Event) -> None:
        held.extend((one.as_scp, one.as_scu) for one in event.assoc.accepted_contexts)
        held.extend((one.scu_role, one.scp_role) for one in event.assoc.requestor.role_selection.values())

    requestor = AE()
    requestor.add_requested_context(CT, IMPLICIT)
    roles = [build_role(CT, scu_role=True), build_role(CT, scp_role=True)]
    handlers = [(evt.EVT_ESTABLISHED, established)]
    try:
        server = acceptor.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        with requestor.associate("127.0.0.1", server.server_address[1], ext_neg=roles) as association:
            mine = [(one.as_scu, one.as_scp) for one in association.accepted_contexts]
    finally:
        acceptor.shutdown()
    assert mine == [(True, False)]
    assert held == mine * 2
