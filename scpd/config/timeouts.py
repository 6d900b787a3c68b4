"""The section ``timeouts``: how long a server waits, so that no wait is for ever."""

from typing import Annotated

from pydantic import Field

from scpd.config.kinds import duration
from scpd.config.section import Section

_SHORTEST = 0.001
_DAY = 24 * 3600.0

Seconds = Annotated[float, duration(_SHORTEST, 7 * _DAY)]


class TimeoutsConfig(Section):
    """Times per server, in seconds."""

    artim: Seconds = Field(
        default=30.0,
        description="How long a connection may take to ask for an association, and to close after its "
        "end, with ms, s, m or h (default 30s): the ARTIM timer of PS3.8.",
    )
    idle: Seconds = Field(
        default=600.0,
        description="How long an association may stay without a message, with ms, s, m or h (default "
        "10m), after which it is aborted, since its peer is likely gone.",
    )
    message: Seconds = Field(
        default=60.0,
        description="How long the peer may pause within a message, with ms, s, m or h (default 1m), "
        "after which the association is aborted and what came of the message is dropped.",
    )
    write: Seconds = Field(
        default=60.0,
        description="How long the peer may refuse to take what is sent to it, with ms, s, m or h "
        "(default 1m), after which the connection is closed.",
    )
    shutdown: Annotated[float, duration(0.0, _DAY)] = Field(
        default=30.0,
        description="How long running associations may go on after SIGTERM before they are aborted, "
        "with ms, s, m or h (default 30s; 0 aborts at once); keep it below the time after which the "
        "service manager kills.",
    )
