"""A store with an index, into which instances of any age are put, and what became of both."""

from __future__ import annotations

import os
import threading
import time

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from sqlalchemy import func, select

from components.held import encode
from scpd.index.attributes import Keeping
from scpd.index.differences import differences
from scpd.index.examining import examine, write_down
from scpd.index.index import Index
from scpd.index.register import Note, Register
from scpd.index.schema import instances, patients, pending, series, studies
from scpd.index.upkeep import Upkeep
from scpd.part10 import file_meta
from scpd.retention.rules import rule
from scpd.storage.store import Store, StorePolicy

PATIENCE = 20.0
NOW = 1_700_000_000.0
DAY = 86400.0
CT = "1.2.840.10008.5.1.4.1.1.2"


def encoded(study: str, uid: str, patient: str = "4711") -> bytes:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = CT, uid, "CT"
    dataset.PatientID, dataset.PatientName, dataset.AccessionNumber = patient, "Müller^Jürgen", "A17"
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, f"{study}.1"
    return encode(dataset, ExplicitVRLittleEndian)


class Archive:
    """A store at ``folder``, and what an index says of it."""

    def __init__(self, url: str, folder, *, deferred: bool = False) -> None:
        self.folder = folder
        self.store = Store(folder, StorePolicy(durable=False))
        self.index = Index(url, Keeping())
        self.upkeep = Upkeep(self.index)
        self.register = Register(self.index, folder, deferred=deferred)
        self.upkeep.keep([self.register])
        self.upkeep.start(PATIENCE)
        self.until(lambda: self.register.is_recovered)

    def write(self, study, number, *, age=100 * DAY, calling="CT1", patient="4711") -> str:
        """A file of an instance, so old (seconds); its path below the store."""
        uid = f"{study}.1.{number}"
        incoming = self.store.begin(file_meta(ExplicitVRLittleEndian, calling).header(CT, uid))
        incoming.write([memoryview(encoded(study, uid, patient))])
        components = (study, f"{study}.1", f"{uid}.dcm")
        incoming.commit(components)
        path = "/".join(components)
        os.utime(self.folder / path, (NOW - age, NOW - age))
        return path

    def put(self, study, number=1, **how) -> str:
        """The same, and its rows."""
        path = self.write(study, number, **how)
        self.enter(path)
        return path

    def enter(self, path) -> None:
        """The rows of a file."""
        write_down(self.register, [examine(self.register, Note(path))])

    def fill(self, study, count, **how) -> list[str]:
        return [self.put(study, number, **how) for number in range(1, count + 1)]

    def files(self) -> list[str]:
        """The instances that are there."""
        return sorted(str(one.relative_to(self.folder)) for one in self.folder.rglob("*.dcm"))

    def folders(self) -> list[str]:
        return sorted(one.name for one in self.folder.iterdir() if not one.name.startswith("."))

    def studies(self) -> list[str]:
        with self.index.database.reading() as connection:
            return sorted(connection.scalars(select(studies.c.uid)))

    def counts(self) -> tuple[int, ...]:
        """Rows of patients, studies, series, instances, and of notes."""
        with self.index.database.reading() as connection:
            tables = (patients, studies, series, instances, pending)
            return tuple(connection.scalar(select(func.count()).select_from(table)) for table in tables)

    def until(self, holds) -> None:
        """Wait until it is so."""
        give_up, pause = time.monotonic() + PATIENCE, threading.Event()
        while not holds():
            assert time.monotonic() < give_up, f"not so in time: {self.counts()} {self.files()}"
            pause.wait(0.01)

    def must_agree(self) -> None:
        """Rows and files are the same, and nothing is left half-done."""
        self.until(lambda: not self.counts()[4])
        assert list(differences(self.register)) == []
        assert list((self.folder / ".incoming").iterdir()) == []

    def close(self) -> None:
        self.upkeep.close(PATIENCE)
        self.store.close()


class Witness:
    def __init__(self) -> None:
        self.heard = []

    def deleted(self, study, about, rule, deleted) -> None:
        self.heard.append((study, about, rule, deleted))


OLD = rule("older_than: 90d", "scpd.yaml:7", older_than=90 * DAY)
