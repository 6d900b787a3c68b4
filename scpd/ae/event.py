"""What a handler is handed: the event, and what the peer asked for in it (PS3.7 9.1, 10.1)."""

from __future__ import annotations

from datetime import datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from scpd.ae import data
from scpd.ae.statuses import KEYWORDS, value_of
from scpd.dimse.command import (
    CFindRQ,
    CGetRQ,
    CMoveRQ,
    Command,
    CStoreRQ,
    NActionRQ,
    NCreateRQ,
    NEventReportRQ,
    NGetRQ,
    NSetRQ,
    Request,
)
from scpd.dimse.status import OUT_OF_RESOURCES
from scpd.errors import StoreError
from scpd.part10 import file_meta
from scpd.storage.file import write_file

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.tag import BaseTag

    from scpd.ae.presentation import PresentationContextTuple


class EventType(NamedTuple):
    """One kind of event; ``str()`` of it is its name."""

    name: str
    description: str
    is_intervention: bool

    @property
    def is_notification(self) -> bool:
        """Whether it only tells."""
        return not self.is_intervention

    def __str__(self) -> str:
        return self.name


# The name that the data set of each request has in PS3.7.
DATA_SETS: dict[type[Request], tuple[str, str]] = {
    CStoreRQ: ("dataset", "DataSet"),
    CFindRQ: ("identifier", "Identifier"),
    CGetRQ: ("identifier", "Identifier"),
    CMoveRQ: ("identifier", "Identifier"),
    NEventReportRQ: ("event_information", "EventInformation"),
    NSetRQ: ("modification_list", "ModificationList"),
    NActionRQ: ("action_information", "ActionInformation"),
    NCreateRQ: ("attribute_list", "AttributeList"),
}


class Body:
    """The data set of a request, read from the association when somebody wants it.

    ``read`` gives the views of one filling of the receive buffer after the other; more than ``longest`` bytes of it
    are a :class:`~scpd.errors.StoreError`.
    """

    def __init__(self, read: Callable[[], Iterator[list[memoryview]]], longest: int) -> None:
        self._read = read
        self._longest = longest
        self._whole: bytes | None = None
        self._gone = False

    def batches(self) -> Iterator[list[memoryview]]:
        """The data set as it arrives, once; or again when it is held."""
        if self._whole is not None:
            return iter([[memoryview(self._whole)]])
        if self._gone:
            raise RuntimeError("the data set was written already, and is not held: read it before write(), or the file")
        self._gone = True
        return self._bounded()

    def _bounded(self) -> Iterator[list[memoryview]]:
        count = 0
        for batch in self._read():
            count += sum(map(len, batch))
            if count > self._longest:
                raise StoreError(OUT_OF_RESOURCES, f"the data set is longer than {self._longest} bytes")
            yield batch

    def whole(self) -> bytes:
        """The data set, held from now on."""
        if self._whole is None:
            gathered = bytearray()
            for batch in self.batches():
                for view in batch:
                    gathered += view
            self._whole = bytes(gathered)
        return self._whole


_NOTHING = Body(lambda: iter(()), 0)


def _never() -> bool:
    return False


class RequestView:
    """A request by the standard's keywords: ``request.AffectedSOPInstanceUID``, ``request.MessageID``, ….

    UIDs are pydicom's, tags too; an element that is absent is None. A data set by its name in PS3.7, as ``DataSet`` or
    ``Identifier``, is a :class:`io.BytesIO`.
    """

    def __init__(self, command: Request, body: Body) -> None:
        self.command = command
        self._body = body

    def __getattr__(self, keyword: str) -> Any:
        command = self.command
        if keyword in KEYWORDS[type(command)]:
            return value_of(command, keyword)
        if keyword == DATA_SETS.get(type(command), ("", ""))[1]:
            return BytesIO(self._body.whole()) if command.has_data_set else None
        raise AttributeError(f"a {command.NAME} request has no {keyword}")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *KEYWORDS[type(self.command)]]

    def __repr__(self) -> str:
        return repr(self.command)


class MessageView:
    """A message of EVT_DIMSE_RECV and EVT_DIMSE_SENT: its command set, and the context it goes over.

    The data set is not here: it passes by.
    """

    def __init__(self, context_id: int, command: Command) -> None:
        self.context_id = context_id
        self.command = command

    @property
    def command_set(self) -> Dataset:
        """The command set as a data set (group 0000)."""
        from pydicom.dataset import Dataset  # noqa: PLC0415 only where somebody looks

        dataset = Dataset()
        dataset.CommandField = self.command.command_field
        for keyword in KEYWORDS[type(self.command)]:
            value = value_of(self.command, keyword)
            if keyword == "CommandDataSetType":
                value = 0x0001 if self.command.has_data_set else 0x0101
            if value is not None:
                setattr(dataset, keyword, value)
        return dataset


class Event:
    """Something that happened in an association: ``assoc``, ``event`` (which), ``timestamp`` (local time).

    What else there is depends on the event, and its documentation says it; anything else is an
    :class:`AttributeError`.
    """

    request: RequestView
    context: PresentationContextTuple

    def __init__(self, assoc: Any, event: EventType, **attributes: Any) -> None:
        self.assoc = assoc
        self.event = event
        self.timestamp = datetime.now()  # noqa: DTZ005 as people here read it
        self.write_error: OSError | None = None
        self._command: Request | None = None
        self._body: Body = _NOTHING
        self._is_cancelled: Callable[[], bool] = _never
        self.__dict__.update(attributes)

    @classmethod
    def of_request(
        cls,
        assoc: Any,
        event: EventType,
        command: Request,
        context: PresentationContextTuple,
        body: Body,
        is_cancelled: Callable[[], bool],
    ) -> Event:
        """The event of a request of the peer."""
        made = cls(assoc, event, request=RequestView(command, body), context=context)
        made._command = command
        made._body = body
        made._is_cancelled = is_cancelled
        return made

    # -- every request

    @property
    def message_id(self) -> int:
        """Message ID (0000,0110) of the request."""
        if self._command is None:
            self._has_no("message_id")
        return self._command.message_id

    @property
    def is_cancelled(self) -> bool:
        """Whether a C-CANCEL came for this C-FIND, C-GET or C-MOVE; False for anything else.

        Looks without waiting. Raises :class:`~scpd.errors.PeerError` when the peer is gone: let it pass.
        """
        return isinstance(self._command, (CFindRQ, CGetRQ, CMoveRQ)) and self._is_cancelled()

    # -- C-STORE

    @property
    def dataset(self) -> Dataset:
        """The data set of a C-STORE, held in memory. Errors in it come up when its elements are looked at."""
        return self._data_set("dataset")

    @property
    def file_meta(self) -> FileMetaDataset:
        """File meta information for the data set of a C-STORE (PS3.10 7.1)."""
        command = self._store("file_meta")
        return data.file_meta(
            command.affected_sop_class_uid, command.affected_sop_instance_uid, self.context.transfer_syntax
        )

    def encoded_dataset(self, include_meta: bool = True) -> bytes:
        """The data set of a C-STORE byte for byte as it came; with preamble and file meta information unless told."""
        self._store("encoded_dataset")
        whole = self._body.whole()
        return self._header() + whole if include_meta else whole

    def write(self, path: str | os.PathLike[str], *, durable: bool = True) -> None:
        """Store the data set of a C-STORE as a DICOM file at ``path``, byte for byte and without decoding it.

        It is streamed: memory does not grow with it. Nothing is at ``path`` before all of it is: it is written beside
        it under another name, then renamed, replacing what was there. ``durable`` waits for the disk (fsync) before;
        return Success only after this has returned. Raises :class:`OSError`; folders are not made.
        """
        self._store("write")
        try:
            write_file(path, self._header(), self._body.batches(), durable=durable)
        except OSError as error:
            self.write_error = error
            raise

    # -- C-FIND, C-GET, C-MOVE

    @property
    def identifier(self) -> Dataset:
        """The Identifier of a C-FIND, C-GET or C-MOVE."""
        return self._data_set("identifier")

    @property
    def move_destination(self) -> str | None:
        """Move Destination (0000,0600) of a C-MOVE: an AE title."""
        return self._element("MoveDestination", "move_destination")  # type: ignore[no-any-return]

    # -- DIMSE-N

    @property
    def event_information(self) -> Dataset:
        """The Event Information of an N-EVENT-REPORT; empty where there is none."""
        return self._data_set("event_information")

    @property
    def event_type(self) -> int | None:
        """Event Type ID (0000,1002) of an N-EVENT-REPORT."""
        return self._element("EventTypeID", "event_type")  # type: ignore[no-any-return]

    @property
    def attribute_identifiers(self) -> list[BaseTag]:
        """Attribute Identifier List (0000,1005) of an N-GET; empty asks for all."""
        if not isinstance(self._command, NGetRQ):
            self._has_no("attribute_identifiers")
        return self.request.AttributeIdentifierList or []

    @property
    def modification_list(self) -> Dataset:
        """The Modification List of an N-SET."""
        return self._data_set("modification_list")

    @property
    def action_information(self) -> Dataset:
        """The Action Information of an N-ACTION; empty where there is none."""
        return self._data_set("action_information")

    @property
    def action_type(self) -> int | None:
        """Action Type ID (0000,1008) of an N-ACTION."""
        return self._element("ActionTypeID", "action_type")  # type: ignore[no-any-return]

    @property
    def attribute_list(self) -> Dataset:
        """The Attribute List of an N-CREATE; empty where there is none."""
        return self._data_set("attribute_list")

    def _header(self) -> bytes:
        command = self._store("write")
        meta = file_meta(self.context.transfer_syntax, self.assoc.requestor.ae_title)
        return meta.header(command.affected_sop_class_uid, command.affected_sop_instance_uid)

    def _store(self, name: str) -> CStoreRQ:
        if not isinstance(self._command, CStoreRQ):
            self._has_no(name)
        return self._command

    def _data_set(self, name: str) -> Dataset:
        if self._command is None or DATA_SETS.get(type(self._command), ("", ""))[0] != name:
            self._has_no(name)
        if "_decoded" not in self.__dict__:
            self._decoded = data.decode(self._body.whole(), self.context.transfer_syntax)
        return self._decoded

    def _element(self, keyword: str, name: str) -> Any:
        if self._command is None or keyword not in KEYWORDS[type(self._command)]:
            self._has_no(name)
        return getattr(self.request, keyword)

    def _has_no(self, name: str) -> NoReturn:
        raise AttributeError(f"an event {self.event.name} has no {name}")
