"""The section ``peers``: remote Application Entities by name."""

from typing import Annotated

from pydantic import Field

from scpd.config.kinds import AE_TITLE, ENDPOINT, whole_number
from scpd.config.section import Section
from scpd.config.tls import PeerTLSConfig
from scpd.config.values import Endpoint


class PeerConfig(Section):
    """One peer."""

    address: Annotated[Endpoint, ENDPOINT] = Field(description="Where it listens: host:port or [v6]:port.")
    ae_title: Annotated[str, AE_TITLE] = Field(description="Its AE title.")
    tls: PeerTLSConfig | None = Field(
        default=None, description="TLS towards it, where it listens with TLS: a mapping, {} with every default."
    )
    associations: Annotated[int, whole_number(1, 16)] = Field(
        default=1, description="How many associations a C-MOVE may have with it at once (default 1)."
    )
    attempts: Annotated[int, whole_number(1, 10)] = Field(
        default=3,
        description="How often a C-MOVE tries to reach it, with a pause of some seconds in between, and to send an "
        "instance that breaks the association (default 3); then what is left has failed.",
    )
