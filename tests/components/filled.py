"""A storage directory that is filled by hand, and all that an index says of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sqlalchemy import select

from components.made import EXPLICIT, encoded
from scpd.index.schema import instances, patients, series, stores, studies
from scpd.part10 import file_meta

if TYPE_CHECKING:
    from pathlib import Path

    from scpd.index.index import Index

CT = "1.2.840.10008.5.1.4.1.1.2"
WHEN = 1_700_000_000.0


def instance(number: int = 1, study: int = 1, syntax: str = EXPLICIT, **more: object) -> bytes:
    """A file of the study with that number; 100 instances are a series."""
    values = {
        "SOPClassUID": CT,
        "SOPInstanceUID": f"1.2.{study}.{number}",
        "StudyDate": "20240102",
        "Modality": "CT",
        "PatientName": f"DOE^{study}",
        "PatientID": f"P{study}",
        "StudyInstanceUID": f"1.2.{study}",
        "SeriesInstanceUID": f"1.2.{study}.0.{number // 100}",
        "InstanceNumber": str(number),
        "Rows": "512",
        **more,
    }
    return file_meta(syntax, "MAKER").header(CT, str(values["SOPInstanceUID"])) + encoded(values, syntax, "")


def put(directory: Path, path: str, data: bytes, when: float | None = None) -> Path:
    """A file of the store, received at ``when``."""
    file = directory / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    if when is not None:
        os.utime(file, (when, when))
    return file


def rows(index: Index, *, digests: bool = True) -> list[tuple[object, ...]]:
    """Each instance with all that is written of it and above it, but for numbers and moments of rows."""
    above = [
        column
        for table in (series, studies, patients)
        for column in table.c
        if column.name not in ("id", "received", "study", "patient")
    ]
    own = [column for column in instances.c if column.name not in ("id", "received", "series", "store")]
    told = [column for column in (*own, *above) if digests or column is not instances.c.digest]
    joined = instances.join(series).join(studies).join(patients).join(stores, instances.c.store == stores.c.id)
    statement = select(*told).select_from(joined).order_by(instances.c.path)
    with index.database.reading() as connection:
        return [tuple(row) for row in connection.execute(statement)]
