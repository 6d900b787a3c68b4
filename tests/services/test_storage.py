"""C-STORE called directly: every status, and nothing left behind by any."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread

from scpd.dimse.command import CStoreRQ, CStoreRSP
from scpd.negotiation.offer import AcceptedContext
from scpd.services.service import Operation, Peer
from scpd.services.storage import Storage, StorageRules
from scpd.storage.paths import DEFAULT_TEMPLATE, PathTemplate
from scpd.storage.store import SPOOL, Store, StorePolicy

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
INSTANCE = "1.2.3.4.5"
# pydicom's, about every wrong character set; the daemon has no ear for them.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

PEER = Peer("127.0.0.1:1234", "CT1", "SCPD")


def element(tag: int, vr: bytes, value: bytes | str, syntax: str = EXPLICIT) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    raw += (b"\0" if vr == b"UI" else b" ") * (len(raw) % 2)
    order = ">" if syntax == BIG else "<"
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if syntax == IMPLICIT:
        return head + struct.pack("<I", len(raw)) + raw
    return head + vr + struct.pack(order + "H", len(raw)) + raw


def data_set(sop_class: str = CT, instance: str = INSTANCE, syntax: str = EXPLICIT, **more: str | bytes) -> bytes:
    """A data set; ``more`` has patient, study and charset."""
    parts = [
        element(0x00080005, b"CS", more["charset"], syntax) if "charset" in more else b"",
        element(0x00080016, b"UI", sop_class, syntax) if sop_class else b"",
        element(0x00080018, b"UI", instance, syntax) if instance else b"",
        element(0x00100010, b"PN", "DOE^JANE", syntax),
        element(0x00100020, b"LO", more.get("patient", "P1"), syntax),
        element(0x0020000D, b"UI", more.get("study", "1.2.3"), syntax),
        element(0x0020000E, b"UI", "1.2.3.4", syntax),
        element(0x00280010, b"US", b"\1\2", syntax),
    ]
    data = b"".join(parts)
    return zlib.compress(data, wbits=-15) if syntax == DEFLATED else data


def fillings(data: bytes, size: int):
    """The data set as the exchange hands it out: views of one buffer, void once the next filling is asked for."""
    for start in range(0, len(data), size):
        buffer = bytearray(data[start : start + size])
        middle = len(buffer) // 2
        yield [memoryview(buffer)[:middle], memoryview(buffer)[middle:]]
        buffer[:] = b"\xee" * len(buffer)


class Bench:
    """A store in a folder, and C-STORE requests to it."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.store: Store | None = None

    def storage(self, *, verify="lenient", longest=1 << 20, path=DEFAULT_TEMPLATE, **policy) -> Storage:
        if self.store:
            self.store.close()
        self.store = Store(self.folder, StorePolicy(**{"durable": False, **policy}))
        return Storage(self.store, StorageRules(PathTemplate(path), longest, verify))

    def send(
        self,
        storage: Storage,
        data: bytes,
        *,
        sop_class=CT,
        instance=INSTANCE,
        abstract=CT,
        syntax=EXPLICIT,
        size=1 << 16,
        peer=PEER,
    ) -> tuple[int, str]:
        """The status of the one reply, and what the log is told."""
        request = CStoreRQ(
            message_id=9, affected_sop_class_uid=sop_class, affected_sop_instance_uid=instance, has_data_set=True
        )
        context = AcceptedContext(3, abstract, syntax)
        operation = Operation(peer, context, request, lambda: fillings(data, size), lambda: False)
        (reply,) = storage.perform(operation)
        response = reply.response
        assert isinstance(response, CStoreRSP)
        assert response.message_id_being_responded_to == 9
        assert response.affected_sop_class_uid == sop_class
        assert response.affected_sop_instance_uid == instance
        assert not response.has_data_set
        assert response.error_comment == reply.why[:64]
        assert list((self.folder / SPOOL).iterdir()) == [], "the spool is empty after every reply"
        return response.status, reply.why

    def files(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        }

    def only_file(self) -> bytes:
        (content,) = self.files().values()
        return content


@pytest.fixture
def bench(tmp_path):
    one = Bench(tmp_path / "store")
    yield one
    if one.store:
        one.store.close()


DEFAULT_PATH = "1.2.3/1.2.3.4/1.2.3.4.5.dcm"


# -- 0000


@pytest.mark.parametrize("verify", ["lenient", "strict"])
@pytest.mark.parametrize("size", [1 << 16, 100, 1])
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG, DEFLATED])
def test_success_means_the_data_set_is_in_its_place_byte_for_byte(bench, syntax, size, verify):
    data = data_set(syntax=syntax)
    assert bench.send(bench.storage(verify=verify), data, syntax=syntax, size=size) == (0x0000, "")
    assert list(bench.files()) == [DEFAULT_PATH]
    content = bench.only_file()
    assert content.endswith(data)
    found = dcmread(io.BytesIO(content))
    assert len(content) - len(data) == 144 + found.file_meta.FileMetaInformationGroupLength
    assert found.file_meta.TransferSyntaxUID == syntax
    assert found.file_meta.MediaStorageSOPClassUID == CT
    assert found.file_meta.MediaStorageSOPInstanceUID == INSTANCE
    assert found.file_meta.SourceApplicationEntityTitle == "CT1"
    assert found.PatientName == "DOE^JANE"


def test_what_the_path_asks_for_comes_from_data_set_titles_and_command(bench):
    storage = bench.storage(path="{calling}/{called}/{PatientID}/{SOPInstanceUID}")
    assert bench.send(storage, data_set(patient="../P/1"), size=3)[0] == 0x0000
    assert list(bench.files()) == [f"CT1/SCPD/%2E.%2FP%2F1/{INSTANCE}"]


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG, DEFLATED])
def test_every_instance_of_a_series_is_filed_by_its_own_values(bench, syntax):
    """Those that are laid out like the one before, and the one among them that is not."""
    storage = bench.storage(path="{StudyInstanceUID}/{PatientID}/{SOPInstanceUID}")
    expected = []
    for number in range(12):
        instance, study, patient = f"1.2.{number + 10}", f"1.9.{number + 10}", f"P{number + 10}"
        if number == 7:
            patient = "SOMEBODY-ELSE"
        more = {"charset": "ISO_IR 100"} if number == 9 else {}
        data = data_set(instance=instance, study=study, patient=patient, syntax=syntax, **more)
        assert bench.send(storage, data, instance=instance, syntax=syntax) == (0x0000, "")
        expected.append(f"{study}/{patient}/{instance}")
    assert sorted(bench.files()) == sorted(expected)


def test_a_mismatch_within_a_series_is_noticed(bench):
    storage = bench.storage()
    for _ in range(4):
        assert bench.send(storage, data_set())[0] == 0x0000
    assert bench.send(storage, data_set(instance="1.2.3.4.6"))[0] == 0xB007
    assert bench.send(storage, data_set(sop_class=MR))[0] == 0xB007


def test_text_in_a_path_is_read_in_its_character_set(bench):
    storage = bench.storage(path="{PatientID}/{SOPInstanceUID}")
    data = data_set(patient="Müller".encode("latin-1"), charset="ISO_IR 100")
    assert bench.send(storage, data)[0] == 0x0000
    assert list(bench.files()) == [f"Müller/{INSTANCE}"]


@pytest.mark.parametrize("charset", ["unicode_escape", "utf_7", "hex", "idna", "undefined", "ISO_IR 999"])
def test_no_character_set_that_a_peer_names_keeps_its_instance_out(bench, charset):
    r"""``\ud800`` in unicode_escape is half a character, which no file name can hold."""
    storage = bench.storage(path="{PatientID}/{SOPInstanceUID}")
    data = data_set(patient=b"\xe9\x1b\\ud800+2AA-", charset=charset)
    assert bench.send(storage, data)[0] == 0x0000
    assert len(bench.files()) == 1


def test_a_path_of_long_names_in_other_scripts_is_stored_too(bench):
    """Three names of 25 characters with 4 bytes each make a component of more than 255 bytes."""
    storage = bench.storage(path="{PatientID}{PatientID}{PatientID}/{SOPInstanceUID}")
    data = data_set(patient=("\U00020000" * 25).encode(), charset="ISO_IR 192")
    assert bench.send(storage, data) == (0x0000, "")


# -- B007 and A900: data set and command differ


@pytest.mark.parametrize(
    ("sop_class", "instance", "what"),
    [
        (MR, INSTANCE, "SOP Class UID"),
        (CT, "1.2.3.9", "SOP Instance UID"),
        ("", INSTANCE, "SOP Class UID"),
        (CT, "", "SOP Instance UID"),
        ("", "", "SOP Class UID"),
    ],
)
def test_a_mismatch_is_stored_with_a_warning_and_refused_where_rules_are_strict(bench, sop_class, instance, what):
    data = data_set(sop_class, instance)
    status, why = bench.send(bench.storage(verify="strict"), data)
    assert status == 0xA900
    assert bench.files() == {}
    status, lenient_why = bench.send(bench.storage(verify="lenient"), data)
    assert status == 0xB007
    assert why == lenient_why == f"{what} of data set and command differ"
    assert list(bench.files()) == [DEFAULT_PATH], "under the UID that the sender was told was stored"
    assert bench.only_file().endswith(data)


def test_a_data_set_of_private_elements_alone_is_no_worse_off_where_rules_are_lenient(bench):
    data = element(0x00290010, b"LO", "PRIVATE") + element(0x00291001, b"LO", "value")
    assert bench.send(bench.storage(verify="strict"), data)[0] == 0xA900
    assert bench.send(bench.storage(verify="lenient"), data)[0] == 0xB007


# -- C000: no data set

NO_DATA_SETS = {
    "empty": (b"", EXPLICIT),
    "empty, implicit": (b"", IMPLICIT),
    "empty, deflated": (b"", DEFLATED),
    "zeros": (b"\0" * 8, EXPLICIT),
    "three bytes": (b"abc", EXPLICIT),
    "a web page": (b"<html><body>no data set</body></html>", EXPLICIT),
    "ones": (b"\xff" * 1000, EXPLICIT),
    "ones, deflated": (b"\xff" * 1000, DEFLATED),
    "a whole file": (bytes(128) + b"DICM" + data_set(), EXPLICIT),
    "file meta information": (element(0x00020010, b"UI", EXPLICIT) + data_set(), EXPLICIT),
    "cut in its head": (data_set()[:-49], EXPLICIT),
    "cut in its first element": (data_set()[:30], EXPLICIT),
    "cut, deflated": (data_set(syntax=DEFLATED)[:20], DEFLATED),
}


@pytest.mark.parametrize("verify", ["lenient", "strict"])
@pytest.mark.parametrize("size", [1 << 16, 1])
@pytest.mark.parametrize("what", NO_DATA_SETS)
def test_what_is_no_data_set_is_not_stored(bench, what, size, verify):
    data, syntax = NO_DATA_SETS[what]
    status, why = bench.send(bench.storage(verify=verify), data, syntax=syntax, size=size)
    assert status == 0xC000
    assert why
    assert bench.files() == {}


def test_a_data_set_cut_short_behind_its_head_is_found_out_where_rules_are_strict(bench):
    data = data_set() + element(0x00281052, b"DS", "1.0")[:-1]
    assert bench.send(bench.storage(verify="strict"), data)[0] == 0xC000
    assert bench.files() == {}
    assert bench.send(bench.storage(verify="lenient"), data)[0] == 0x0000


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(
    st.one_of(st.binary(max_size=100), st.binary(max_size=30).map(data_set().__add__)),
    st.sampled_from([IMPLICIT, EXPLICIT, BIG, DEFLATED]),
    st.sampled_from(["lenient", "strict"]),
    st.integers(1, 50),
)
def test_any_bytes_get_one_of_the_statuses_of_storage_and_leave_no_spool(bench, data, syntax, verify, size):
    storage = bench.storage(verify=verify)
    status, why = bench.send(storage, data, syntax=syntax, size=size)
    assert status in (0x0000, 0xB007, 0xA900, 0xC000)
    assert bool(why) == (status != 0)


# -- 0117, 0122: the command


@pytest.mark.parametrize(
    "instance", ["", "1..2", "01.2", "1.2.", "../../etc/passwd", "1.2\n3", "a", "1" * 65, "..", "1/2"]
)
def test_an_instance_uid_that_is_none_is_0117(bench, instance):
    status, why = bench.send(bench.storage(), data_set(), instance=instance)
    assert status == 0x0117
    assert why.isprintable()
    assert bench.files() == {}


@pytest.mark.parametrize("sop_class", [MR, "", "nonsense\n"])
def test_another_sop_class_than_the_contexts_is_0122(bench, sop_class):
    status, why = bench.send(bench.storage(), data_set(), sop_class=sop_class)
    assert status == 0x0122
    assert why.isprintable()
    assert bench.files() == {}


def test_a_command_that_is_refused_is_refused_before_a_byte_of_its_data_set_is_read(bench):
    storage = bench.storage()

    def unread():
        raise AssertionError("nobody may ask for the data set")

    for request in (
        CStoreRQ(message_id=1, affected_sop_class_uid=MR, affected_sop_instance_uid=INSTANCE, has_data_set=True),
        CStoreRQ(message_id=1, affected_sop_class_uid=CT, affected_sop_instance_uid="x", has_data_set=True),
    ):
        operation = Operation(PEER, AcceptedContext(1, CT, EXPLICIT), request, unread, lambda: False)
        (reply,) = storage.perform(operation)
        assert reply.response.status in (0x0117, 0x0122)


# -- A700


def test_a_data_set_longer_than_its_limit_is_a700_and_not_read_to_its_end(bench):
    storage = bench.storage(longest=10_000)
    taken = []

    def endless():
        while True:
            taken.append(1000)
            yield [memoryview(data_set() + bytes(1000))]

    request = CStoreRQ(message_id=1, affected_sop_class_uid=CT, affected_sop_instance_uid=INSTANCE, has_data_set=True)
    operation = Operation(PEER, AcceptedContext(1, CT, EXPLICIT), request, endless, lambda: False)
    (reply,) = storage.perform(operation)
    assert reply.response.status == 0xA700
    assert "limits.data_set" in reply.why
    assert sum(taken) <= 12_000
    assert bench.files() == {}


def test_a_data_set_of_just_its_limit_is_stored(bench):
    data = data_set()
    assert bench.send(bench.storage(longest=len(data)), data)[0] == 0x0000
    assert bench.send(bench.storage(longest=len(data) - 1), data)[0] == 0xA700


def test_less_space_than_the_reserve_is_a700(bench):
    status, why = bench.send(bench.storage(reserve=1 << 62), data_set())
    assert (status, "storage.reserve" in why) == (0xA700, True)
    assert bench.files() == {}


def test_what_stands_in_the_way_is_a700_and_leaves_the_rest_alone(bench):
    storage = bench.storage()
    (bench.folder / "1.2.3").write_bytes(b"in the way")
    assert bench.send(storage, data_set())[0] == 0xA700
    assert bench.files() == {"1.2.3": b"in the way"}


# -- 0111 and the other rules for duplicates


@pytest.mark.parametrize(("duplicates", "status"), [("replace", 0x0000), ("keep", 0x0000), ("reject", 0x0111)])
def test_an_instance_that_is_held_already_is_answered_by_the_rule(bench, duplicates, status):
    storage = bench.storage(duplicates=duplicates)
    first, second = data_set(patient="FIRST"), data_set(patient="SECOND")
    assert bench.send(storage, first)[0] == 0x0000
    assert bench.send(storage, second)[0] == status
    assert bench.only_file().endswith(second if duplicates == "replace" else first)


# -- what ends in the middle


def test_an_association_that_ends_inside_a_data_set_leaves_nothing(bench):
    storage = bench.storage()

    def broken():
        yield [memoryview(data_set())]
        raise ConnectionError

    request = CStoreRQ(message_id=1, affected_sop_class_uid=CT, affected_sop_instance_uid=INSTANCE, has_data_set=True)
    operation = Operation(PEER, AcceptedContext(1, CT, EXPLICIT), request, broken, lambda: False)
    with pytest.raises(ConnectionError):
        list(storage.perform(operation))
    assert bench.files() == {}


def test_nothing_but_c_store_is_taken():
    assert Storage.operations == {CStoreRQ}
