"""``scpd get HOST:PORT --into DIRECTORY``: what matches some keys, from a peer to files."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from scpd.cli import answers, keys, retrieval
from scpd.client import querying
from scpd.client.querying import Extensions
from scpd.client.retrieving import roles, storage_proposals
from scpd.dimse.status import Category, category
from scpd.errors import PeerError
from scpd.services.service import Peer
from scpd.services.serving import Serving
from scpd.services.storage import Storage, StorageRules
from scpd.sop_class import MOST_USED_STORAGE
from scpd.storage.paths import DEFAULT_TEMPLATE, PathTemplate
from scpd.storage.store import Store, StorePolicy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scpd.client.requestor import Association
    from scpd.dimse.command import Request, Response

_LONGEST = 8 * 1024**3  # bytes of one data set, as limits.data_set has it


def configure(parser: argparse.ArgumentParser) -> None:
    keys.configure(parser)
    parser.add_argument(
        "--into", metavar="DIRECTORY", type=Path, required=True, help=f"where the files go, as {DEFAULT_TEMPLATE}"
    )
    parser.add_argument(
        "--sop-class",
        metavar="NAME",
        dest="sop_classes",
        type=keys.argument(_sop_class),
        action="append",
        default=[],
        help="a storage class to receive, by keyword or UID, in place of those most used; may stand several times; "
        "up to three can come in whatever encoding the peer holds them",
    )


def _sop_class(text: str) -> str:
    from scpd.config.uids import UnknownName, parse_sop_class, sop_class_uids  # noqa: PLC0415 it takes a while

    try:
        uids = sop_class_uids([parse_sop_class(text)])
    except UnknownName as error:
        raise ValueError(error.sentence()) from None
    if len(uids) > 1:
        raise ValueError(f"{text!r} is a group; write the keywords of its SOP classes")
    return uids[0]


def run(args: argparse.Namespace) -> int:
    abstract_syntax = keys.sop_class(args, "get")
    sop_classes = list(dict.fromkeys(args.sop_classes or map(str, MOST_USED_STORAGE)))
    try:
        proposals = storage_proposals(sop_classes)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"--sop-class: {error}") from None
    store, received = Store(args.into, StorePolicy()), _Received()
    beside = proposals, roles(sop_classes)
    with keys.association(args, abstract_syntax, Extensions(args.relational), *beside) as association:
        _receive(association, sop_classes, store, received)
        operation = keys.ask(querying.get, association, abstract_syntax, keys.wanted(args))
        counts = retrieval.follow(operation)
    received.tell()
    return retrieval.conclude(operation, counts) or int(bool(received.refused))


def _receive(association: Association, sop_classes: Sequence[str], store: Store, received: _Received) -> None:
    """Take what comes over the association, as the daemon does. Raises :class:`PeerError` where nothing can come."""
    if not any(context.as_scp for context in association.contexts.values()):
        raise PeerError("the peer agreed to send no storage class over this association; try scpd move")
    caller, exchange = association.caller, association.exchange
    sender = Peer(association.upper.connection.peer, caller.called, caller.calling)
    storage = Storage(store, StorageRules(PathTemplate(DEFAULT_TEMPLATE), _LONGEST))
    association.serve = Serving(
        exchange,
        sender,
        association.contexts,
        dict.fromkeys(sop_classes, storage),
        longest_refused=caller.longest_refused,
        observer=received,
    )


class _Received:
    """What came of each instance that arrived here."""

    def __init__(self) -> None:
        self.stored = self.refused = 0
        self._reasons: Counter[str] = Counter()

    def asked(self, request: Request, /) -> None:
        """An instance begins."""

    def answered(self, _: int, response: Response, why: str, /) -> None:
        """It has ended like that."""
        kind = category(response.status)
        if kind in (Category.SUCCESS, Category.WARNING):
            self.stored += 1
        else:
            self.refused += 1
        if kind is not Category.SUCCESS:
            self._reasons[why] += 1

    def tell(self) -> None:
        print(f"{self.stored} stored, {self.refused} not")
        for why, count in sorted(self._reasons.items()):
            print(f"{count:8} {answers.harmless(why)}")
