"""What is stored while a study goes: answered with Success it is there, and in the index, whatever the moment."""

from __future__ import annotations

import os
import threading
import time
from functools import partial

import pytest
from components.aged import CT, DAY, PATIENCE, encoded
from pydicom.uid import ExplicitVRLittleEndian

from scpd.errors import StoreError
from scpd.index.files import Looker
from scpd.part10 import file_meta
from scpd.retention.judging import Work
from scpd.retention.keeper import Keeper
from scpd.retention.rules import rule

STUDIES, INSTANCES = 12, 15


def send(archive, study, number) -> bool:
    """As a C-STORE does: promised, placed, settled; whether the sender hears Success."""
    uid = f"{study}.1.{number}"
    components = (study, f"{study}.1", f"{uid}.dcm")
    incoming = archive.store.begin(file_meta(ExplicitVRLittleEndian, "CT1").header(CT, uid))
    incoming.write([memoryview(encoded(study, uid))])
    written = incoming.told()
    path = "/".join(components)
    arrival = Looker(archive.index.scribe, str(archive.folder)).look(f".incoming/{incoming._name}")
    now = arrival._replace(path=path, size=written.size, received=written.when)
    note, placed = archive.register.expect(path, lambda: now), False
    try:
        note = archive.register.expected(note)
        placed = incoming.commit(components)
    except StoreError:  # a folder went at this very moment: the sender keeps it, and comes again
        incoming.abandon()
    finally:
        archive.register.settle(note, holds=placed)
    return placed


@pytest.mark.parametrize("deferred", [False, True], ids=["required", "deferred"])
def test_what_is_stored_while_its_study_goes_is_there(make_archive, database_url, log, deferred):
    archive = make_archive(database_url, deferred=deferred)
    names = [f"1.{number}" for number in range(2, 2 + STUDIES)]
    old = time.time() - 100 * DAY
    for study in names:
        for number in range(INSTANCES):
            path = archive.write(study, number)
            os.utime(archive.folder / path, (old, old))
            archive.enter(path)
    stored, begin = set(), threading.Event()

    def sender(first):
        begin.wait(PATIENCE)
        for study in names[first::3]:
            for number in range(0, INSTANCES, 4):
                if send(archive, study, number):
                    stored.add(f"{study}/{study}.1/{study}.1.{number}.dcm")

    threads = [threading.Thread(target=partial(sender, first)) for first in range(3)]
    keeper = Keeper(archive.register, Work([rule("old", "x:1", older_than=90 * DAY)]))
    for one in threads:
        one.start()
    keeper.start()
    begin.set()
    for one in threads:
        one.join(PATIENCE)
    archive.until(lambda: keeper.standing().last is not None or keeper.standing().trouble)
    keeper.end()
    assert keeper.join(PATIENCE)
    archive.until(lambda: not archive.register.waiting)
    assert keeper.standing().trouble == ""
    assert stored
    assert stored <= set(archive.files())
    archive.must_agree()
