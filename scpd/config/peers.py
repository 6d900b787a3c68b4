"""The section ``peers``: remote Application Entities by name."""

from typing import Annotated

from pydantic import Field

from scpd.config.kinds import AE_TITLE, ENDPOINT
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
