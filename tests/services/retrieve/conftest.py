"""``archive(files, destinations)`` is a server of scpd with retrieval, and a small index of these files in memory;
``receiver()`` an Application Entity that keeps what it is sent; ``move`` and ``get`` ask, as a workstation would.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from components.retrieval import ALL, IMPLICIT, Answers, Archive, Receiver, gather, identifier

from scpd import AE, build_role, evt
from scpd.services.query.models import STUDY_ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from pydicom.dataset import Dataset

    from scpd.services.retrieve.destination import Destination


@pytest.fixture
def archive() -> Iterator[Callable[..., Archive]]:
    """``archive(files, {"TITLE": [destination, …]})``."""
    started: list[Archive] = []

    def start(files: Iterable[Path], destinations: dict[str, list[Destination]] | None = None, **how: Any) -> Archive:
        started.append(Archive(files, destinations or {}, **how))
        return started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.fixture
def receiver() -> Iterator[Callable[..., Receiver]]:
    """``receiver(title, syntaxes=…, status=lambda event: 0)``."""
    started: list[Receiver] = []

    def start(title: str = "RECEIVER", *, syntaxes: Iterable[str] = ALL, status=lambda _: 0, tls=None) -> Receiver:
        started.append(Receiver(title, syntaxes, status, tls))
        return started[-1]

    yield start
    for one in started:
        one.server.shutdown(0)


@pytest.fixture
def move() -> Iterator[Callable[..., Answers]]:
    """A C-MOVE as somebody else asks for it: ``move(archive, "RECEIVER", identifier(…))``."""
    associations = []

    def ask(
        archive: Archive,
        title: str,
        asked: Dataset | None = None,
        *,
        model: str = STUDY_ROOT.move,
        syntax: str = IMPLICIT,
        each=None,
        **how: Any,
    ) -> Answers:
        ae = AE("WORKSTATION")
        ae.add_requested_context(model, syntax)
        associations.append(ae.associate("127.0.0.1", archive.port, ae_title="ARCHIVE"))
        asked = identifier() if asked is None else asked
        ask.association = associations[-1]
        return gather(associations[-1].send_c_move(asked, title, model, **how), each)

    yield ask
    for one in associations:
        one.abort()


class Getting(NamedTuple):
    answers: Answers
    got: dict[str, tuple[bytes, str, Any]]


@pytest.fixture
def get() -> Iterator[Callable[..., Getting]]:
    """A C-GET: the instances come back over the same association, in ``contexts``: (SOP class, syntaxes)."""
    associations = []

    def ask(
        archive: Archive,
        contexts: Iterable[tuple[str, list[str]]],
        asked: Dataset | None = None,
        *,
        model: str = STUDY_ROOT.get,
        each=None,
        status=lambda _: 0,
        **how: Any,
    ) -> Getting:
        got = {}

        def store(event) -> int:
            code = status(event)
            data = event.encoded_dataset(include_meta=False)
            got[str(event.request.AffectedSOPInstanceUID)] = (data, str(event.context.transfer_syntax), event.request)
            return code

        ae = AE("WORKSTATION")
        ae.add_requested_context(model, IMPLICIT)
        roles = []
        for sop_class, syntaxes in contexts:
            ae.add_requested_context(sop_class, syntaxes)
            roles.append(build_role(sop_class, scp_role=True))
        association = ae.associate(
            "127.0.0.1", archive.port, ae_title="ARCHIVE", ext_neg=roles, evt_handlers=[(evt.EVT_C_STORE, store)]
        )
        associations.append(association)
        ask.association = association
        asked = identifier() if asked is None else asked
        return Getting(gather(association.send_c_get(asked, model, **how), each), got)

    yield ask
    for one in associations:
        one.abort()
