"""The section ``hooks``: who is told of instances and studies that have arrived."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from scpd.config.kinds import MASK, NAME, SECRET, TEXT, Kind, duration, whole_number
from scpd.config.section import Section
from scpd.config.tls import PeerTLSConfig
from scpd.config.values import parse_secret, with_advice
from scpd.forward.address import parse_url

_HOUR = 3600.0
_DEFAULT_QUIET = 60.0


def parse_address(value: object) -> str:
    """An http or https address as it stands."""
    return with_advice(_understood, parse_secret(value), "write https://host/path")


def _understood(text: str) -> str:
    parse_url(text)
    return text


def _without_query(url: str) -> str:
    """As it is shown: an address of others may have its secret there."""
    place, _, query = url.partition("?")
    return f"{place}?{MASK}" if query else url


def _absolute(command: tuple[str, ...]) -> tuple[str, ...]:
    if not command:
        raise ValueError("the list is empty; write the program's path, and its arguments, each an entry of its own")
    if not Path(command[0]).is_absolute():
        raise ValueError(
            "the first entry is no path from the root, and no shell looks for it; write it as in [/usr/local/bin/x, -v]"
        )
    return command


_URL = Kind(parse_address, _without_query, {"type": "string", "pattern": "^https?://"})
Command = Annotated[tuple[Annotated[str, TEXT], ...], AfterValidator(_absolute)]


class _HookConfig(Section):
    """What hooks of every kind have."""

    name: Annotated[str, NAME] = Field(
        description="The hook's name in the log, in the queue and in scpd queue: no two hooks of the process share one."
    )
    on: Literal["instance", "study"] = Field(
        description="What it is told of: each new instance once it is durable, or each study once it is quiet."
    )
    quiet: Annotated[float, duration(0.1, 24 * _HOUR)] | None = Field(
        default=None,
        description="How long no instance of a study has to come until it counts as complete (default 60s); for on: "
        "study alone.",
    )
    timeout: Annotated[float, duration(0.1, 24 * _HOUR)] = Field(
        default=30.0, description="How long one try may take (default 30s); then it counts as failed."
    )
    attempts: Annotated[int, whole_number(1, 1000)] = Field(
        default=20,
        description="How often it is tried at most (default 20, which takes six hours or so); then the job is set "
        "aside, and waits for scpd queue.",
    )
    concurrency: Annotated[int, whole_number(1, 64)] = Field(
        default=4, description="How many jobs it is given at a time at most (default 4)."
    )

    @model_validator(mode="after")
    def _quiet_is_for_studies(self) -> "_HookConfig":
        if self.on == "instance" and self.quiet is not None:
            raise ValueError("quiet is for on: study; leave it out, or write that")
        return self

    @property
    def seconds_of_quiet(self) -> float:
        """The same with its default."""
        return _DEFAULT_QUIET if self.quiet is None else self.quiet


class ExecHookConfig(_HookConfig):
    """A program."""

    kind: Literal["exec"] = Field(description="A program, started without a shell.")
    command: Command = Field(
        description="The program, by its path from the root, and its arguments, a list; what it is told stands in its "
        "environment and, as JSON, on its standard input."
    )


class WebhookConfig(_HookConfig):
    """An address."""

    kind: Literal["webhook"] = Field(description="An address that JSON is POSTed to.")
    url: Annotated[str, _URL] = Field(
        repr=False,
        description="The address: https://host/path, or http://; what stands after a ? is a secret, and never shown.",
    )
    secret: Annotated[str, SECRET] = Field(
        repr=False,
        description="What the header X-Scpd-Signature is made with (HMAC-SHA256), best as file:/run/secrets/x.",
    )
    tls: PeerTLSConfig | None = Field(
        default=None, description="TLS towards it, for https (default: the CAs that this machine trusts)."
    )

    @model_validator(mode="after")
    def _tls_is_for_https(self) -> "WebhookConfig":
        if self.tls is not None and not parse_url(self.url).is_secure:
            raise ValueError("tls is for an https:// address; write that, or leave tls out")
        return self


HookConfig = ExecHookConfig | WebhookConfig
