"""What a C-STORE sends: a data set of pydicom's, or a file, in a transfer syntax that the peer took (PS3.4 B.2)."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from pydicom.dataset import Dataset

from scpd.ae import arguments, data
from scpd.client.instance import CANNOT_CONVERT, converted, pieces
from scpd.errors import UnreadableDataSet
from scpd.part10 import read_head
from scpd.sop_class import UNCOMPRESSED, uid_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from io import FileIO

    from pydicom.uid import UID

    from scpd.negotiation.offer import AcceptedContext
    from scpd.transport.exchange import Piece

# Encodings that can be changed into one another without loss: the values keep their byte order.
_LITTLE_ENDIAN = tuple(str(uid) for uid in UNCOMPRESSED if uid.is_little_endian)


class Sendable(Protocol):
    """Something that can be sent."""

    sop_class_uid: str
    sop_instance_uid: str

    def over(self, contexts: Sequence[AcceptedContext]) -> tuple[AcceptedContext, Iterable[Piece]]:
        """Which of the contexts it goes through, and its data set there. :class:`ValueError` when through none."""


@contextmanager
def opened(dataset: Dataset | str | os.PathLike[str], buffer: Callable[[], memoryview]) -> Iterator[Sendable]:
    """What is to be sent; a file is open meanwhile, and goes through ``buffer``."""
    if isinstance(dataset, Dataset):
        yield DataSet(dataset)
    elif isinstance(dataset, (str, os.PathLike)):
        with open(dataset, "rb", buffering=0) as file:  # noqa: PTH123 a Path costs more than it tells here
            yield File(file, os.fspath(dataset), buffer)
    else:
        raise TypeError(f"dataset is a pydicom Dataset or the path of a file, not a {type(dataset).__name__}")


class File:
    """A DICOM file."""

    def __init__(self, file: FileIO, name: str, buffer: Callable[[], memoryview]) -> None:
        try:
            self._head = read_head(file)
        except UnreadableDataSet as error:
            raise ValueError(f"{name} cannot be sent: {error}") from None
        self._file = file
        self._name = name
        self._buffer = buffer
        self.sop_class_uid = self._head.sop_class_uid
        self.sop_instance_uid = self._head.sop_instance_uid

    def over(self, contexts: Sequence[AcceptedContext]) -> tuple[AcceptedContext, Iterable[Piece]]:
        """The file's own encoding byte for byte, or the first that loses nothing."""
        context = choose(contexts, self._head.transfer_syntax, self.sop_class_uid)
        if context.transfer_syntax == self._head.transfer_syntax:
            return context, pieces(self._file, self._head, self._buffer())
        return context, self._converted(context.transfer_syntax)

    def _converted(self, syntax: str) -> Iterator[Piece]:
        self._file.seek(0)
        try:
            yield from converted(self._file, syntax)
        except CANNOT_CONVERT as error:
            raise ValueError(f"{self._name} cannot be encoded as {uid_name(syntax)}: {error}") from error


class DataSet:
    """A data set of pydicom's."""

    def __init__(self, dataset: Dataset) -> None:
        for keyword in ("SOPClassUID", "SOPInstanceUID"):
            if not dataset.get(keyword):
                raise ValueError(f"the data set cannot be sent: it has no {keyword}")
        self._dataset = dataset
        self.sop_class_uid = arguments.uid("SOPClassUID", dataset.SOPClassUID)
        self.sop_instance_uid = arguments.uid("SOPInstanceUID", dataset.SOPInstanceUID)

    def over(self, contexts: Sequence[AcceptedContext]) -> tuple[AcceptedContext, Iterable[Piece]]:
        """Its own encoding, or the first that loses nothing."""
        context = choose(contexts, self._own_syntax(contexts), self.sop_class_uid)
        return context, data.piece(data.encode(self._dataset, context.transfer_syntax))

    def _own_syntax(self, contexts: Sequence[AcceptedContext]) -> str:
        meta = getattr(self._dataset, "file_meta", None)
        if meta is not None and meta.get("TransferSyntaxUID"):
            return self._checked(meta.TransferSyntaxUID)
        if self._dataset.original_encoding == (None, None):  # made by the program: any plain encoding is its own
            return next((one.transfer_syntax for one in contexts if one.transfer_syntax in _LITTLE_ENDIAN), "")
        raise ValueError(
            "the data set cannot be sent: its encoding is not known; set dataset.file_meta.TransferSyntaxUID"
        )

    def _checked(self, syntax: UID) -> str:
        """What the data set says it is must be what it was read as, or compressed pixel data would go out as plain."""
        implicit, little = self._dataset.original_encoding
        if implicit is None or little is None or (implicit, little) == (syntax.is_implicit_VR, syntax.is_little_endian):
            return str(syntax)
        if not little:
            return str(UNCOMPRESSED[3])
        if syntax in _LITTLE_ENDIAN:
            return str(syntax)
        raise ValueError(
            f"the data set cannot be sent: it was read as {'implicit' if implicit else 'explicit'} VR, "
            f"but dataset.file_meta.TransferSyntaxUID is {syntax.name}"
        )


def choose(contexts: Sequence[AcceptedContext], syntax: str, sop_class_uid: str) -> AcceptedContext:
    """The context for a data set in ``syntax``: the same, or the first that loses nothing."""
    same = next((context for context in contexts if context.transfer_syntax == syntax), None)
    if same:
        return same
    if syntax in _LITTLE_ENDIAN:
        for context in contexts:
            if context.transfer_syntax in _LITTLE_ENDIAN:
                return context
    raise ValueError(
        f"no presentation context for {uid_name(sop_class_uid)} was accepted "
        f"in which a data set in {uid_name(syntax) or 'its encoding'} could be sent without loss"
    )
