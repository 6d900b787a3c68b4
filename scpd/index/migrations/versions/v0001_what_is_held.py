"""The first tables: stores, patients, studies, series, instances, what is pending, and facts of the index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table("facts", _text("name", primary_key=True), _text("value"))
    op.create_table("stores", _id(), _text("uid"), _text("directory"), sa.UniqueConstraint("uid", name="stores_uid"))
    op.create_table(
        "pending", _id(), _number("store", "stores.id"), _text("path"), sa.Column("since", sa.Float, nullable=False)
    )
    _index("pending", "since")
    _of_a_level("patients", "key", "patient_id", "name", "sounds", unique=("key",))
    _index("patients", "patient_id", "name")
    _of_a_level("studies", _number("patient", "patients.id"), "uid", "date", "accession", "study_id", unique=("uid",))
    _index("studies", "patient", "date", "accession", "study_id")
    _of_a_level("series", _number("study", "studies.id"), "uid", "modality", unique=("study", "uid"))
    _index("series", "uid")
    _of_a_level(
        "instances",
        *(_number("series", "series.id"), "uid", "sop_class", _number("number")),
        *(_number("store", "stores.id"), "path", "transfer_syntax", _number("size"), "digest", "calling"),
        unique=("store", "path"),
    )
    _index("instances", "uid")
    op.create_index("instances_by_series_uid", "instances", ["series", "uid"])


def _of_a_level(name: str, *columns: str | sa.Column[int], unique: tuple[str, ...]) -> None:
    op.create_table(
        name,
        _id(),
        *(_text(one) if isinstance(one, str) else one for one in columns),
        sa.Column("received", sa.Float, nullable=False),
        sa.Column("attributes", sa.JSON().with_variant(JSONB, "postgresql"), nullable=False),
        sa.UniqueConstraint(*unique, name="_".join((name, *unique))),
    )


def _index(table: str, *columns: str) -> None:
    for column in columns:
        op.create_index(f"{table}_by_{column}", table, [column])


def _text(name: str, *, primary_key: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, primary_key=primary_key, nullable=False)


def _number(name: str, refers_to: str | None = None) -> sa.Column[int]:
    kind = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    return sa.Column(name, kind, *((sa.ForeignKey(refers_to),) if refers_to else ()), nullable=False)


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True)
