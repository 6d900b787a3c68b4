"""The section ``retention``: which studies are deleted, and when."""

from typing import Annotated

from pydantic import Field, model_validator

from scpd.config.access import HasValue, Short, Titles
from scpd.config.kinds import duration, size
from scpd.config.values import GiB

_HOUR = 3600.0
_DAY = 24 * _HOUR


class RetentionRule(Short):
    """Which studies a rule deletes: those of which all holds that is written."""

    older_than: Annotated[Annotated[float, duration(_HOUR, 36500 * _DAY)] | None, HasValue()] = Field(
        default=None,
        description="How long ago the last instance of a study came, at least, as 90d: younger ones stay.",
    )
    free_below: Annotated[Annotated[int, size(1, 1024 * 1024 * GiB)] | None, HasValue()] = Field(
        default=None,
        description="The free space, in bytes or with KiB, MiB, GiB, below which studies are deleted, the oldest "
        "first, until so much is free again; more than storage.reserve.",
    )
    calling: Annotated[Titles | None, HasValue()] = Field(
        default=None,
        description="The calling AE titles that all instances of a study came from; * is any text, ? any character.",
    )

    @model_validator(mode="after")
    def _says_when(self) -> "RetentionRule":
        if self.older_than is None and self.free_below is None:
            raise ValueError(
                "the rule does not say when; write older_than or free_below, as in - {older_than: 90d} or "
                "- {free_below: 50GiB}"
            )
        return self
