"""The section ``audit``: where the audit trail goes (PS3.15 A.5 to A.7)."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from scpd.config.kinds import ENDPOINT, FILE, FOLDER, TEXT, size
from scpd.config.section import Section
from scpd.config.tls import PeerTLSConfig
from scpd.config.values import Endpoint, GiB, MiB


class AuditFileConfig(Section):
    """A file."""

    kind: Literal["file"] = Field(description="A file, one message a line; it may be rotated by others.")
    path: Annotated[Path, FILE] = Field(description="The file; it is made where it is missing.")


class AuditTLSConfig(Section):
    """A collector, by syslog over TLS."""

    kind: Literal["syslog-tls"] = Field(description="A collector, by syslog over TLS (RFC 5425).")
    address: Annotated[Endpoint, ENDPOINT] = Field(description="Where it listens, as 10.0.0.9:6514.")
    tls: PeerTLSConfig = Field(default_factory=PeerTLSConfig, description="TLS towards it; it is always verified.")

    @model_validator(mode="after")
    def _is_verified(self) -> "AuditTLSConfig":
        if not self.tls.verify:
            raise ValueError("an audit trail goes only to a collector that is verified; leave tls.verify out")
        return self


class AuditUDPConfig(Section):
    """A collector, by syslog over UDP."""

    kind: Literal["syslog-udp"] = Field(
        description="A collector, by syslog over UDP (RFC 5426): what the network drops is lost, and anybody on "
        "the way can read it."
    )
    address: Annotated[Endpoint, ENDPOINT] = Field(description="Where it listens, as 10.0.0.9:514.")


DestinationConfig = AuditFileConfig | AuditTLSConfig | AuditUDPConfig


class AuditConfig(Section):
    """For the whole process."""

    source: Annotated[str, TEXT] | None = Field(
        default=None, description="How this system calls itself in the messages (default: the machine's host name)."
    )
    site: Annotated[str, TEXT] | None = Field(default=None, description="The site it stands in (default: not said).")
    spool: Annotated[Path, FOLDER] | None = Field(
        default=None,
        description="The directory in which messages wait for a collector that is away (default: they wait in memory, "
        "and are lost with the process).",
    )
    spool_limit: Annotated[int, size(MiB, 64 * GiB)] = Field(
        default=64 * MiB,
        description="How much may wait for each destination (default 64MiB): beyond it the newest are lost, and the "
        "log says how many.",
    )
    destinations: tuple[Annotated[DestinationConfig, Field(discriminator="kind")], ...] = Field(
        default=(), description="Where messages go, each to all of them (default nowhere)."
    )
