"""The section ``logging``: how much the process says, and in which form."""

from typing import Literal

from pydantic import Field

from scpd.config.section import Section


class LoggingConfig(Section):
    """For the whole process, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="The least serious entries that are written (default info): info has one line for "
        "each association, debug what happens within it.",
    )
    format: Literal["auto", "console", "json"] = Field(
        default="auto",
        description="The form of the log (default auto): console for people, json with one object a "
        "line for machines, auto console on a terminal and JSON otherwise.",
    )
