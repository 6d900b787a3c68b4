"""What archives hold when they are asked, made without storing any of it: studies of one patient each, in two series.

Patients and studies are numbered from 1; the identifiers in which dimseload counts have the same form.
"""

import io
import sqlite3
import subprocess
import time

from pydicom import Dataset
from pydicom.filebase import DicomIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from scpd.index.attributes import Keeping
from scpd.index.index import Index
from scpd.index.writing import Arrival, Writing
from scpd.part10 import file_meta
from scpd.storage import head

CT, EXPLICIT, IMPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
SERIES = 2  # of each study
PATIENT, STUDY = f"P{0:012}", "1.2.826.0.1.3680043.9.7777.1." + "1" * 19 + f"{0:012}"
_SERIES_UID, _INSTANCE_UID = STUDY.replace("7777.1", "7777.2"), STUDY.replace("7777.1", "7777.3")
_STORE = "0" * 32
_PATIENCE = 600.0
# Every row of a series like its first one, but for its own number.
_MULTIPLY = """
WITH RECURSIVE numbers(number) AS (SELECT 2 UNION ALL SELECT number + 1 FROM numbers WHERE number < :each)
INSERT INTO instances ({names}) SELECT {values} FROM instances, numbers ORDER BY instances.id, numbers.number
"""
_OTHER = {
    "uid": "uid || '.' || numbers.number",
    "number": "numbers.number",
    "path": "path || '.' || numbers.number",
    "attributes": "replace(attributes, uid, uid || '.' || numbers.number)",
}


def identifier(path, key="", *more):
    """Write the identifier of a C-FIND at the level of studies, in Implicit VR; dimseload's keys for it."""
    asked = Dataset()
    asked.QueryRetrieveLevel = "STUDY"
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "StudyDate", "StudyTime", "AccessionNumber", *more):
        setattr(asked, keyword, "")
    asked.StudyDescription = asked.PatientBirthDate = ""
    value = {"PatientID": PATIENT, "StudyInstanceUID": STUDY}.get(key, "")
    if key:
        setattr(asked, key, value)
    raw = _encoded(asked, implicit=True)
    path.write_bytes(raw)
    places = [f"off={raw.index(value.encode())}", f"len={len(value)}"] if key else []
    return [f"file={path}", f"ts={IMPLICIT}", *places]


def make_index(path, data, *, studies, each):
    """An index for scpd of `studies` with `each` instances, of the headers that the data set in the file `data` has."""
    form = _Form(data)
    index = Index(f"sqlite:///{path}", Keeping())
    index.open()
    writing = Writing(index.database.dialect)

    def write(connection):
        place = index.places.number(connection, _STORE)
        for study in range(1, studies + 1):
            for series in range(1, SERIES + 1):
                writing.put(connection, place, _arrival(index, *form.instance(study, series, 1)))

    index.database.write(write, _PATIENCE)
    index.close()
    with sqlite3.connect(path) as database:
        names = [row[1] for row in database.execute("PRAGMA table_info(instances)") if row[1] != "id"]
        values = [_OTHER.get(name, f"instances.{name}") for name in names]
        sql = _MULTIPLY.format(names=", ".join(names), values=", ".join(values))
        database.execute(sql, {"each": max(each // SERIES, 1)})


def _arrival(index, uid, raw):
    walk = head.reader(EXPLICIT, index.keeping.tags)
    walk.feed(memoryview(raw))
    entry = index.scribe.entry(walk.values, CT, uid, EXPLICIT)
    return Arrival(f"{uid}.dcm", EXPLICIT, len(raw), time.time(), "", "BENCH", entry)


def make_area(folder, data, *, studies, each):
    """The same for DCMTK's archive: a file for each study, and an index in which it stands `each` times.

    Its own program would take hours to write them all down; the records that it makes have one length, and no order.
    """
    form = _Form(data)
    folder.mkdir()
    meta = file_meta(EXPLICIT, "BENCH")
    made = [form.instance(study, 1, 1) for study in range(1, studies + 1)]
    for uid, raw in made:
        (folder / f"{uid}.dcm").write_bytes(meta.header(CT, uid) + raw)
    files = [str(folder / f"{uid}.dcm") for uid, _ in made]
    subprocess.run(["dcmqridx", str(folder), *files], check=True, capture_output=True, timeout=_PATIENCE)
    index = folder / "index.dat"
    whole = index.read_bytes()
    places = [whole.index(uid.encode()) for uid, _ in made]
    length = places[1] - places[0]
    first = len(whole) - studies * length
    with index.open("ab") as file:
        for study, (uid, _) in enumerate(made, 1):
            record = whole[first + (study - 1) * length : first + study * length]
            for number in range(2, each + 1):
                file.write(record.replace(uid.encode(), _instance_uid(study, 1, number).encode()))


class _Form:
    """A data set in which names and numbers can be changed."""

    def __init__(self, path):
        dataset = read_dataset(io.BytesIO(path.read_bytes()), is_implicit_VR=False, is_little_endian=True)
        dataset.PatientID, dataset.StudyInstanceUID = PATIENT, STUDY
        dataset.SeriesInstanceUID, dataset.SOPInstanceUID = _SERIES_UID, _INSTANCE_UID
        dataset.StudyDate, dataset.PatientName = "20260101", "Load^Test"
        self._raw = _encoded(dataset, implicit=False)

    def instance(self, study, series, number):
        raw = self._raw
        for value, count in ((PATIENT, study), (STUDY, study), (_SERIES_UID, study * 10 + series)):
            raw = raw.replace(value.encode(), _numbered(value, count).encode())
        uid = _instance_uid(study, series, number)
        return uid, raw.replace(_INSTANCE_UID.encode(), uid.encode())


def _instance_uid(study, series, number):
    return _numbered(_INSTANCE_UID, study * 1_000_000 + series * 100_000 + number)


def _numbered(value, count):
    return f"{value[:-12]}{count:012}"


def _encoded(dataset, *, implicit):
    buffer = DicomIO(io.BytesIO())
    buffer.is_implicit_VR, buffer.is_little_endian = implicit, True
    write_dataset(buffer, dataset)
    return buffer.parent.getvalue()
