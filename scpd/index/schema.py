"""The tables of an index, for SQLite and PostgreSQL alike.

``attributes`` is all that is told of something, as JSON: tags as eight hexadecimal digits → values. The other columns
are what is looked for, and bounded where they are indexed, since a peer says how long a value is. Every row of
``instances`` is a file; two with the same series and UID are two files of one instance, of which the latest counts.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import JSONB

# An index of PostgreSQL has no room for longer values, and nobody needs them there (characters).
LONGEST_KEY = 128
# What stands in place of several values where there should be one: only `attributes` says which they are.
SEVERAL = "\\"

metadata = MetaData(
    naming_convention={"ix": "%(table_name)s_by_%(column_0_N_name)s", "uq": "%(table_name)s_%(column_0_N_name)s"}
)
_Number = BigInteger().with_variant(Integer, "sqlite")
_Attributes = JSON().with_variant(JSONB, "postgresql")


def _id() -> Column[int]:
    return Column("id", _Number, primary_key=True)


stores = Table(
    "stores",
    metadata,
    _id(),
    Column("uid", Text, nullable=False, unique=True),
    Column("directory", Text, nullable=False),
)
"""Storage directories, each known by what its marker file says, wherever it is mounted."""

patients = Table(
    "patients",
    metadata,
    _id(),
    Column("key", Text, nullable=False, unique=True),
    Column("patient_id", Text, nullable=False, index=True),
    Column("name", Text, nullable=False, index=True),
    Column("sounds", Text, nullable=False),
    Column("received", Float, nullable=False),
    Column("attributes", _Attributes, nullable=False),
)
"""``key`` is Patient ID with its issuer, or a study that has neither; ``name`` as person_names.py has it."""

studies = Table(
    "studies",
    metadata,
    _id(),
    Column("patient", _Number, ForeignKey("patients.id"), nullable=False, index=True),
    Column("uid", Text, nullable=False, unique=True),
    Column("date", Text, nullable=False, index=True),
    Column("accession", Text, nullable=False, index=True),
    Column("study_id", Text, nullable=False, index=True),
    Column("received", Float, nullable=False),
    Column("attributes", _Attributes, nullable=False),
)

series = Table(
    "series",
    metadata,
    _id(),
    Column("study", _Number, ForeignKey("studies.id"), nullable=False),
    Column("uid", Text, nullable=False, index=True),
    Column("modality", Text, nullable=False),  # whole, since it is told of a study
    Column("received", Float, nullable=False),
    Column("attributes", _Attributes, nullable=False),
    UniqueConstraint("study", "uid"),
)

instances = Table(
    "instances",
    metadata,
    _id(),
    Column("series", _Number, ForeignKey("series.id"), nullable=False),
    Column("uid", Text, nullable=False, index=True),
    Column("sop_class", Text, nullable=False),
    Column("number", _Number, nullable=False),
    Column("store", _Number, ForeignKey("stores.id"), nullable=False),
    Column("path", Text, nullable=False),
    Column("transfer_syntax", Text, nullable=False),
    Column("size", _Number, nullable=False),
    Column("digest", Text, nullable=False),
    Column("calling", Text, nullable=False),
    Column("received", Float, nullable=False),
    Column("attributes", _Attributes, nullable=False),
    UniqueConstraint("store", "path"),
    Index("instances_by_series_uid", "series", "uid"),
)
"""``number`` is Instance Number, to sort by; ``path`` is below the store, ``size`` that of the file in bytes,
``received`` Unix time; ``digest`` the CRC-32 of the data set as it came, or nothing."""

pending = Table(
    "pending",
    metadata,
    _id(),
    Column("store", _Number, ForeignKey("stores.id"), nullable=False),
    Column("path", Text, nullable=False),
    Column("since", Float, nullable=False, index=True),
)
"""Files whose rows may not be what is on the disk: written here before, and forgotten once it is."""

facts = Table("facts", metadata, Column("name", Text, primary_key=True), Column("value", Text, nullable=False))
"""What is to be known of the index itself: which attributes its rows were made with."""
