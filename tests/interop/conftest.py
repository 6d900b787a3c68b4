"""Real files for real peers: pydicom's shipped test set, in batches that hold no SOP Instance UID twice."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pydicom.data
import pytest
from components.authority import Authority
from pydicom.errors import InvalidDicomError
from pydicom.filereader import _read_file_meta_info, read_preamble

from scpd.sop_class import STORAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from components.authority import Issued

FOLDER = Path(pydicom.data.__file__).parent / "test_files"
TIMEOUT = 60.0
VERIFICATION, IMPLICIT = "1.2.840.10008.1.1", "1.2.840.10008.1.2"


class Instance(NamedTuple):
    """A file that can be sent: what its meta information says, and the bytes of its data set."""

    path: Path
    sop_class: str
    instance: str
    transfer_syntax: str
    data: bytes


def _data_set(path: Path) -> bytes:
    """What stands behind the meta information."""
    raw = path.read_bytes()
    assert raw[128:132] == b"DICM"
    assert raw[132:140] == b"\2\0\0\0UL\4\0", "the group length is the first element"
    return raw[144 + int.from_bytes(raw[140:144], "little") :]


def _read(path: Path) -> Instance | None:
    with path.open("rb") as file:
        try:
            read_preamble(file, force=False)
        except InvalidDicomError:
            return None
        meta = _read_file_meta_info(file)
        data = file.read()
    names = ("MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "TransferSyntaxUID")
    uids = [str(meta.get(name, "")) for name in names]
    return Instance(path, *uids, data) if uids[0] in STORAGE and all(uids) else None


@pytest.fixture(scope="session")
def shipped() -> list[Instance]:
    """Every file of pydicom's test set that is an instance of a storage SOP class."""
    found = [one for path in sorted(FOLDER.rglob("*")) if path.is_file() and (one := _read(path))]
    assert len(found) > 130
    return found


@pytest.fixture(scope="session")
def batches() -> Callable[[Iterable[Instance]], list[list[Instance]]]:
    """Instances by turns, no SOP Instance UID twice in one."""

    def split(instances: Iterable[Instance]) -> list[list[Instance]]:
        found: list[dict[str, Instance]] = []
        for one in instances:
            for batch in found:
                if batch.setdefault(one.instance, one) is one:
                    break
            else:
                found.append({one.instance: one})
        return [list(batch.values()) for batch in found]

    return split


@pytest.fixture(scope="session")
def data_set() -> Callable[[Path], bytes]:
    """The bytes of a stored file behind its meta information."""
    return _data_set


@pytest.fixture(scope="session")
def run() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a program to its end; its standard output and error as one text."""

    def start(*command: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(word) for word in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            encoding="utf-8",
            errors="replace",
            timeout=TIMEOUT,
            check=False,
        )

    return start


# -- who vouches for whom


@pytest.fixture(scope="session")
def authority(tmp_path_factory) -> Authority:
    """The CA of the house."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def stranger(tmp_path_factory) -> Authority:
    """A CA that nobody here trusts."""
    return Authority(tmp_path_factory.mktemp("stranger"), "Another CA")


@pytest.fixture(scope="session")
def house(authority) -> Issued:
    """What the servers of the tests show: good for localhost and 127.0.0.1."""
    return authority.server("pacs.example", alternatives=("DNS:localhost", "IP:127.0.0.1"))


@pytest.fixture
def requestor(peer) -> Iterator[Callable[..., Any]]:
    """pynetdicom asks for an association and gives it, established or not; ``contexts`` are Verification by default.

    ``identity`` is a form and its fields, ``respond`` whether the positive response is asked for; what else there is
    goes to pynetdicom, as ``tls_args=(context, "localhost")``. ``refusal`` of what it gives are result, source and
    reason of an A-ASSOCIATE-RJ by its bytes, or None: pynetdicom itself (3.0.4) takes one of some hundred for an abort.
    """
    pynetdicom = peer("pynetdicom")
    associations = []

    def ask(port, contexts=((VERIFICATION, IMPLICIT),), *, calling="ASKING", called="ANY-SCP", **more):
        entity = pynetdicom.AE(calling)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 30
        for abstract, syntax in contexts:
            entity.add_requested_context(abstract, syntax)
        if identity := more.pop("identity", None):
            item = pynetdicom.pdu_primitives.UserIdentityNegotiation()
            item.user_identity_type, item.primary_field = identity[:2]
            if len(identity) > 2:
                item.secondary_field = identity[2]
            item.positive_response_requested = more.pop("respond", False)
            more["ext_neg"] = [item, *more.get("ext_neg", ())]
        came: list[bytes] = []
        more["evt_handlers"] = [(pynetdicom.evt.EVT_DATA_RECV, lambda event: came.append(event.data))]
        association = entity.associate("127.0.0.1", port, ae_title=called, **more)
        association.refusal = tuple(came[0][7:10]) if came and came[0][0] == 3 else None
        associations.append(association)
        return association

    yield ask
    for association in associations:
        if association.is_established:
            association.abort()
