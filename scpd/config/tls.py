"""The section ``tls``: what protects the connections of a server, and what a peer has to show (PS3.15 annex B)."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from scpd.config.kinds import FILE, SECRET, TEXT, YES_OR_NO
from scpd.config.section import Section

Profile = Literal["bcp195", "bcp195-modified", "bcp195-nd", "tls13"]
_PROFILES = (
    "bcp195 is BCP 195 of today (PS3.15 B.12), bcp195-modified the same with more cipher suites (B.13), bcp195-nd is "
    "for older devices (B.10), tls13 TLS 1.3 alone"
)


class TLSConfig(Section):
    """Per server; without this section its connections are not protected."""

    certificate: Annotated[Path, FILE] = Field(
        description="The file of the server's certificate, in PEM, followed by those that lead to its CA."
    )
    key: Annotated[Path, FILE] | None = Field(
        default=None, description="The file of its private key, in PEM (default: it stands in the certificate's file)."
    )
    key_password: Annotated[str, SECRET] | None = Field(
        default=None,
        repr=False,
        description="What the private key is encrypted with (default: it is not), best as file:/run/secrets/x.",
    )
    ca: Annotated[Path, FILE] | None = Field(
        default=None, description="The file of the CA certificates that a peer's certificate has to come from, in PEM."
    )
    crl: Annotated[Path, FILE] | None = Field(
        default=None,
        description="The file of the CAs' revocation lists, in PEM (default none): a revoked certificate is refused.",
    )
    client: Literal["none", "optional", "required"] = Field(
        default="none",
        description="Whether a peer shows a certificate of its own (default none): optional checks the one it sends, "
        "required takes nobody without; both need ca.",
    )
    profile: Profile = Field(
        default="bcp195",
        description=f"Which versions and cipher suites of TLS are taken (default bcp195): {_PROFILES}.",
    )

    @model_validator(mode="after")
    def _checks_against_something(self) -> "TLSConfig":
        if self.client != "none" and self.ca is None:
            raise ValueError(f"client: {self.client} has no CA to check against; write ca, the file of its certificate")
        return self


class PeerTLSConfig(Section):
    """TLS towards a peer that scpd calls."""

    ca: Annotated[Path, FILE] | None = Field(
        default=None,
        description="The file of the CA certificates that the peer's certificate has to come from (default: those that "
        "this machine trusts).",
    )
    certificate: Annotated[Path, FILE] | None = Field(
        default=None, description="The file of the certificate to show to the peer (default none)."
    )
    key: Annotated[Path, FILE] | None = Field(
        default=None, description="The file of its private key (default: it stands in the certificate's file)."
    )
    key_password: Annotated[str, SECRET] | None = Field(
        default=None, repr=False, description="What the private key is encrypted with (default: it is not)."
    )
    crl: Annotated[Path, FILE] | None = Field(
        default=None, description="The file of the CAs' revocation lists (default none)."
    )
    profile: Profile = Field(
        default="bcp195",
        description=f"Which versions and cipher suites of TLS are taken (default bcp195): {_PROFILES}.",
    )
    name: Annotated[str, TEXT] | None = Field(
        default=None, description="The name that the peer's certificate must carry (default: the host of its address)."
    )
    verify: Annotated[bool, YES_OR_NO] = Field(
        default=True,
        description="Whether the peer's certificate is checked (default true): false takes anybody for it, and is for "
        "trying things out.",
    )
