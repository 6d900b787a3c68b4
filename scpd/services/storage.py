"""Storage (PS3.4 annex B): C-STORE, from the wire to a durable file, and Success only then."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal, Protocol, cast

from scpd.dimse import status
from scpd.dimse.command import CStoreRQ, Request, respond
from scpd.errors import StoreError, UnreadableDataSet
from scpd.names import is_uid, quote
from scpd.part10 import file_meta
from scpd.services.service import Operation, Reply
from scpd.storage import head
from scpd.storage.layout import Layouts
from scpd.storage.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from scpd.services.service import Peer
    from scpd.storage.head import Reader
    from scpd.storage.incoming import Incoming, Written
    from scpd.storage.paths import PathTemplate
    from scpd.storage.store import Store

_SPECIFIC_CHARACTER_SET = 0x00080005
_SOP_CLASS_UID = 0x00080016
_SOP_INSTANCE_UID = 0x00080018
# Error Comment (0000,0902) is LO: 64 characters (PS3.7 annex C).
_COMMENT = 64


@dataclass(frozen=True, slots=True)
class StorageRules:
    """How instances are taken: where they go, how large they may be (bytes), and what a mismatch means."""

    path: PathTemplate
    longest: int
    verify: Literal["lenient", "strict"] = "lenient"


@dataclass(frozen=True, slots=True)
class Stored:
    """An instance at its final, absolute ``path``; ``values`` are raw ones of its data set, those that were asked for.

    The UIDs are those of the command and of the presentation context. ``directory`` is the storage directory.
    ``digest`` is the CRC-32 of the data set in hexadecimal digits, where somebody asked for it.
    """

    peer: Peer
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    values: Mapping[int, bytes]
    directory: str
    path: str
    written: Written
    digest: str = ""


class Witness(Protocol):
    """Hears of each instance that was stored, before the sender does; ``tags`` are the values it wants to know."""

    tags: frozenset[int]

    def stored(self, instance: Stored) -> None: ...


class Promise(Protocol):
    """Something that will be done for an instance."""

    def keep(self) -> None:
        """Wait until it is durable. Raises :class:`~scpd.errors.StoreError` where it cannot be."""

    def settle(self, *, holds: bool) -> None:
        """The instance is in its place, and is a new one; or it is not, and nothing is to be done."""


class HandOver(Protocol):
    """Promises durably, before an instance gets its place, that it will be handed over; ``tags`` as of a witness.

    Thus no instance is ever in its place, for a crash or a full disk to leave there, without being handed over.
    ``optional`` are values that may be missing where they are too long, or sequences; ``digests`` says that it wants
    the digest.
    """

    tags: frozenset[int]
    optional: frozenset[int]
    digests: bool

    def promise(self, instance: Stored) -> Promise:
        """Begin to; the disk has something else to do meanwhile.

        Raises :class:`~scpd.errors.StoreError` where nothing can be promised.
        """


class Storage:
    """Stores what is sent, byte for byte."""

    operations: frozenset[type[Request]] = frozenset((CStoreRQ,))

    def __init__(
        self,
        store: Store,
        rules: StorageRules,
        witnesses: Sequence[Witness] = (),
        hand_overs: Sequence[HandOver] = (),
    ) -> None:
        self._store = store
        self._rules = rules
        self._witnesses = tuple(witnesses)
        self._hand_overs = tuple(hand_overs)
        self._digests = any(one.digests for one in self._hand_overs)
        self._directory = str(store.directory.absolute())
        told: tuple[Witness | HandOver, ...] = (*self._witnesses, *self._hand_overs)
        self._tags = frozenset(
            (
                *(_SPECIFIC_CHARACTER_SET, _SOP_CLASS_UID, _SOP_INSTANCE_UID),
                *rules.path.tags,
                *(tag for one in told for tag in one.tags),
            )
        )
        self._optional = frozenset(tag for one in self._hand_overs for tag in one.optional) - self._tags
        self._layouts = Layouts(self._tags | self._optional)

    def perform(self, operation: Operation) -> Iterable[Reply]:
        """One C-STORE response (PS3.4 B.2.3): Success once the instance is where it belongs."""
        request = cast("CStoreRQ", operation.request)
        try:
            warning = self._take(operation, request)
        except StoreError as error:
            return (Reply(respond(request, error.status, error_comment=error.what[:_COMMENT]), error.what),)
        if warning:
            response = respond(request, status.WARNING_DOES_NOT_MATCH, error_comment=warning[:_COMMENT])
            return (Reply(response, warning),)
        return (Reply(respond(request, status.SUCCESS)),)

    def _take(self, operation: Operation, request: CStoreRQ) -> str:
        """Store the instance; returns a warning, or nothing. Raises :class:`StoreError` with the status."""
        check_command(request, operation.context.abstract_syntax)
        meta = file_meta(operation.context.transfer_syntax, operation.peer.calling)
        incoming = self._store.begin(meta.header(request.affected_sop_class_uid, request.affected_sop_instance_uid))
        try:
            reader, digest = self._stream(operation, incoming)
            warning = self._verify(request, reader)
            self._place(incoming, operation, request, reader, digest)
        except UnreadableDataSet as error:
            raise StoreError(status.CANNOT_UNDERSTAND, str(error)) from error
        finally:
            incoming.abandon()
        return warning

    def _place(self, incoming: Incoming, operation: Operation, request: CStoreRQ, reader: Reader, digest: str) -> None:
        """Give the instance its place, and tell whoever wants to know."""
        components = self._path(operation, request, reader)
        if not self._witnesses and not self._hand_overs:
            incoming.commit(components)
            return
        instance = Stored(
            operation.peer,
            request.affected_sop_class_uid,
            request.affected_sop_instance_uid,
            operation.context.transfer_syntax,
            reader.values,
            self._directory,
            "/".join((self._directory, *components)),
            incoming.told(),
            digest,
        )
        self._commit(incoming, components, instance)
        for witness in self._witnesses:
            witness.stored(instance)

    def _commit(self, incoming: Incoming, components: Sequence[str], instance: Stored) -> None:
        """Give it its place once everything is promised; what is promised and comes to nothing is taken back."""
        promises: list[Promise] = []
        is_new = False
        try:
            for one in self._hand_overs:
                promises.append(one.promise(instance))  # noqa: PERF401 those before one that fails are settled
            incoming.sync()
            for promise in promises:
                promise.keep()
            is_new = incoming.commit(components)
        finally:
            for promise in promises:
                promise.settle(holds=is_new)

    def _stream(self, operation: Operation, incoming: Incoming) -> tuple[Reader, str]:
        """The data set to its file as it arrives; its head is read on the way. And its digest, where that is wanted."""
        reader: Reader | None = None
        digest = 0
        for views in operation.data():
            if reader is None:
                reader = self._begin_reading(operation, views[0])
                views_to_read = views[1:]
            else:
                views_to_read = views
            if not reader.done:
                for view in views_to_read:
                    reader.feed(view)
            incoming.write(views)
            if self._digests:
                for view in views:
                    digest = zlib.crc32(view, digest)
            if incoming.size > self._rules.longest:
                raise StoreError(status.OUT_OF_RESOURCES, "the data set is longer than limits.data_set")
        if reader is None or not reader.seen:
            raise UnreadableDataSet("the data set has no element that could be read")
        reader.finish()
        return reader, f"{digest:08x}" if self._digests else ""

    def _begin_reading(self, operation: Operation, data: memoryview) -> Reader:
        sender = (operation.peer.address, operation.context)
        strict = self._rules.verify == "strict"
        if not strict:
            values = self._layouts.read(sender, data)
            if values is not None:
                return head.Known(values)
        reader = head.reader(operation.context.transfer_syntax, self._tags, optional=self._optional, whole=strict)
        reader.feed(data)
        if isinstance(reader, head.Walk) and reader.plain_size:
            self._layouts.walked(sender, data, reader.plain_size)
        return reader

    def _verify(self, request: CStoreRQ, reader: Reader) -> str:
        sop_class = _uid(reader.values.get(_SOP_CLASS_UID))
        sop_instance = _uid(reader.values.get(_SOP_INSTANCE_UID))
        what = ""
        if sop_class != request.affected_sop_class_uid:
            what = "SOP Class UID of data set and command differ"
        elif sop_instance != request.affected_sop_instance_uid:
            what = "SOP Instance UID of data set and command differ"
        if what and self._rules.verify == "strict":
            raise StoreError(status.DATA_SET_DOES_NOT_MATCH, what)
        return what

    def _path(self, operation: Operation, request: CStoreRQ, reader: Reader) -> tuple[str, ...]:
        text = Text(reader.values.get(_SPECIFIC_CHARACTER_SET, b""))
        values = {tag: text.decode(raw) for tag, raw in reader.values.items() if tag in self._rules.path.tags}
        # The command names the instance: it is what the sender is told was stored, and what it will ask for.
        values[_SOP_INSTANCE_UID] = request.affected_sop_instance_uid
        titles = {"calling": operation.peer.calling, "called": operation.peer.called}
        return self._rules.path.render(values, titles, datetime.now())  # noqa: DTZ005 folders are for people here


def _uid(raw: bytes | None) -> str:
    return (raw or b"").rstrip(b"\0 ").decode("ascii", "replace")


def check_command(request: CStoreRQ, abstract_syntax: str) -> None:
    """Judge a C-STORE request by its command set alone. Raises :class:`StoreError` with the status."""
    if not is_uid(request.affected_sop_instance_uid):
        raise StoreError(
            status.INVALID_SOP_INSTANCE,
            f"Affected SOP Instance UID {quote(request.affected_sop_instance_uid)} is not a UID",
        )
    if request.affected_sop_class_uid != abstract_syntax:
        raise StoreError(
            status.SOP_CLASS_NOT_SUPPORTED,
            f"Affected SOP Class UID {quote(request.affected_sop_class_uid)} is not that of the presentation context",
        )
