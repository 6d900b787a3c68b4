"""The section ``admin``: the endpoint over HTTP for those who run scpd."""

import re
from typing import Annotated

from pydantic import Field

from scpd.config.kinds import ENDPOINT, MASK, Kind
from scpd.config.lists import OneOrMore
from scpd.config.section import Section
from scpd.config.values import Endpoint, parse_endpoint, parse_text

# It goes into a header as it is, and is guessed at no better than by trying.
_TOKEN = re.compile(r"[!-~]{16,256}", re.ASCII)


def parse_token(value: object) -> str:
    """A token of at least 16 characters; no sentence repeats it."""
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise ValueError(
            "it is no token; write 16 to 256 letters, digits and signs, without spaces, best as file:/run/secrets/x"
        )
    return value


def parse_host(value: object) -> str:
    """A name of a host, without a port."""
    name = parse_text(value)
    try:
        return parse_endpoint(f"{name}:0").host
    except ValueError:
        raise ValueError("it is no name of a host; write one without a port, as in pacs.hospital.example") from None


def _as_it_is(name: str) -> str:
    return name


TOKEN = Kind(parse_token, lambda _: MASK, {"type": "string", "minLength": 16})
HOST = Kind(parse_host, _as_it_is, {"type": "string", "minLength": 1})


class AdminConfig(Section):
    """For the whole process."""

    bind: Annotated[Endpoint, ENDPOINT] = Field(
        default=Endpoint("127.0.0.1", 8104),
        description="The address and port of the endpoint (default 127.0.0.1:8104, reached from this machine only); "
        "whoever reaches it may read who sends what to whom.",
    )
    token: Annotated[str, TOKEN] | None = Field(
        default=None,
        repr=False,
        description="The secret of those who may abort associations and drain, 16 characters or more, best as "
        "file:/run/secrets/x (default null: nobody may).",
    )
    hosts: Annotated[tuple[Annotated[str, HOST], ...], OneOrMore()] | None = Field(
        default=None,
        description="Names by which browsers may ask for it (default none: IP addresses, localhost and the machine's "
        "own name), so that no page of elsewhere can be made to read it.",
    )
