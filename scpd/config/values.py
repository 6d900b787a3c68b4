"""The values of a configuration: one parse function each, and how each is written back.

A parse function takes what stood in the YAML (text, whole number, true/false, list, mapping or nothing) and
raises :class:`ValueError` with the sentence for the sysadmin. Knows no key and no file.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scpd.config.faults import shown
from scpd.names import parse_ae_title, quote

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

KiB = 1024
MiB = 1024 * KiB
GiB = 1024 * MiB

SIZE_UNITS = {"GiB": GiB, "MiB": MiB, "KiB": KiB}
TIME_UNITS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}  # in milliseconds
_RATE_UNITS = {unit: TIME_UNITS[unit] for unit in ("h", "m", "s")}

# More digits are no size, time or count of this world, and int() takes the square of their number.
_DIGITS = r"[0-9]{1,15}"
_WHOLE = re.compile(rf"-?{_DIGITS}", re.ASCII)
_SIZE = re.compile(rf"({_DIGITS}) ?([KMG]iB)?", re.ASCII)
_TIME = re.compile(rf"({_DIGITS}) ?(ms|s|m|h|d)", re.ASCII)
_ENDPOINT = re.compile(r"(?:\[(?P<v6>[^\[\]]*)\]|(?P<host>[^:\[\]]*)):(?P<port>[0-9]{1,5})", re.ASCII)
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
_RATE = re.compile(r"([0-9]{1,6})/([0-9]{1,6})?(s|m|h)", re.ASCII)
_CERTIFICATE_NAME = re.compile(r"([A-Za-z0-9.]{1,64}[=:]).{1,256}", re.ASCII)
# As the names in a certificate are told (scpd.transport.certificate_names), whatever their case.
_CERTIFICATE_KINDS = frozenset(
    (
        *("cn=", "o=", "ou=", "c=", "l=", "st=", "dc=", "uid=", "gn=", "sn=", "street=", "title=", "initials="),
        *("serialnumber=", "emailaddress=", "pseudonym=", "postalcode=", "dnqualifier=", "generationqualifier="),
        *("businesscategory=", "organizationidentifier=", "name=", "description="),
        *("dns:", "ip:", "uri:", "email:"),
    )
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

_SYSTEMD = "systemd"
_LONGEST_HOST_NAME = 253
_HIGHEST_PORT = 65535


@dataclass(frozen=True)
class Endpoint:
    """Where something listens. ``host`` is an IPv4 or IPv6 address without brackets, or a name."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def collides(self, other: Endpoint) -> bool:
        """Whether the system would refuse to listen on both; port 0 is any free one, and never collides."""
        if self.port != other.port or self.port == 0:
            return False
        same_family = (":" in self.host) == (":" in other.host)
        everywhere = {self.host, other.host} & {"0.0.0.0", "::"}
        return self.host.lower() == other.host.lower() or (same_family and bool(everywhere))


@dataclass(frozen=True)
class SystemdSocket(Endpoint):
    """A socket that systemd opened and hands over. Its unit says where it listens, so that host and port say nothing.

    ``name`` is its FileDescriptorName=; empty is the one that is called as the server, or the only one there is.
    """

    host: str = ""
    port: int = 0
    name: str = ""

    def __str__(self) -> str:
        return f"{_SYSTEMD}:{self.name}" if self.name else _SYSTEMD

    def collides(self, other: Endpoint) -> bool:
        """Whether both are the same socket, as far as can be said before there are any."""
        return bool(self.name) and self == other


def parse_text(value: object) -> str:
    """Text of one line. A whole number is taken for its digits: an AE title may be ``4711``."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is not text; write text, in quotes where in doubt")  # noqa: TRY004
    if not value.strip():
        raise ValueError("the text is empty; write some, or leave the key out")
    if _CONTROL.search(value):
        raise ValueError(f"{quote(value)} has a control character or a line break; leave it out")
    return value


def parse_whole_number(value: object) -> int:
    """A whole number, as YAML has it or as text of digits (from the environment, in quotes)."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value)
    raise ValueError(f"{shown(value)} is not a whole number; write digits only, as in 200")


def parse_size(value: object) -> int:
    """A size in bytes: ``256KiB``, or a whole number of bytes."""
    found = _SIZE.fullmatch(str(value)) if _is_number_or_text(value) else None
    if not found:
        raise ValueError(f"{shown(value)} is not a size; write a number with KiB, MiB or GiB, as in 256KiB")
    return int(found[1]) * (SIZE_UNITS[found[2]] if found[2] else 1)


def format_size(size: int) -> str:
    """The shortest text that :func:`parse_size` reads as this size."""
    for unit, factor in SIZE_UNITS.items():
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return str(size)


def parse_duration(value: object) -> float:
    """A time in seconds: ``30s``, ``10m``, ``250ms``, ``1h``, ``90d``; 0 needs no unit."""
    if value in (0, "0") and not isinstance(value, bool):
        return 0.0
    found = _TIME.fullmatch(value) if isinstance(value, str) else None
    if found:
        return int(found[1]) * TIME_UNITS[found[2]] / 1000
    if _is_number_or_text(value) and _WHOLE.fullmatch(str(value)):
        raise ValueError(f"{shown(value)} has no unit; write ms, s, m, h or d after it, as in {shown(value)}s")
    raise ValueError(f"{shown(value)} is not a time; write a whole number with ms, s, m, h or d, as in 30s")


def format_duration(seconds: float) -> str:
    """The shortest text that :func:`parse_duration` reads as this time."""
    return _shortest(seconds, TIME_UNITS)


def _shortest(seconds: float, units: Mapping[str, int]) -> str:
    milliseconds = round(seconds * 1000)
    for unit, factor in units.items():
        if milliseconds and milliseconds % factor == 0:
            return f"{milliseconds // factor}{unit}"
    return "0s"


def parse_endpoint(value: object) -> Endpoint:
    """``host:port`` or ``[v6]:port``."""
    if isinstance(value, Endpoint):
        return value
    found = _ENDPOINT.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise ValueError(f"{shown(value)} is not an address; write host:port or [v6]:port, as in 0.0.0.0:11112")
    host = _v6(found["v6"]) if found["v6"] is not None else _v4_or_name(found["host"])
    if int(found["port"]) > _HIGHEST_PORT:
        raise ValueError(f"{found['port']} is not a port; write a number up to {_HIGHEST_PORT}")
    return Endpoint(host, int(found["port"]))


def parse_bind(value: object) -> Endpoint:
    """``host:port``, ``[v6]:port``, or ``systemd`` and ``systemd:NAME`` for a socket that is handed over."""
    if not isinstance(value, str) or value.partition(":")[0] != _SYSTEMD:
        return parse_endpoint(value)
    _, colon, name = value.partition(":")
    return SystemdSocket(name=parse_name(name) if colon else "")


def _v6(text: str) -> str:
    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError:
        raise ValueError(
            f"{shown(text)} is not an IPv6 address; write one in the brackets, as in [::1]:11112"
        ) from None


def _v4_or_name(text: str) -> str:
    """A name may not look like a number: ``10.1.2`` is a slip, not a host."""
    if re.fullmatch(r"[0-9.]+", text):
        try:
            return str(ipaddress.IPv4Address(text))
        except ValueError:
            raise ValueError(f"{shown(text)} is not an IPv4 address; write four numbers, as in 0.0.0.0:11112") from None
    if len(text) > _LONGEST_HOST_NAME or not _HOST_NAME.fullmatch(text):
        raise ValueError(
            f"{shown(text) or 'nothing'} is not a host; write an address or a name before the port, "
            "as in 0.0.0.0:11112 (every interface)"
        )
    return text


def parse_title(value: object) -> str:
    """An AE title (PS3.5 table 6.2-1)."""
    return with_advice(parse_ae_title, parse_text(value), "write 1 to 16 characters")


def with_advice(parse: Callable[[str], str], text: str, advice: str) -> str:
    """What another room's parse function makes of ``text``; a sentence of its that lacks advice gets some."""
    try:
        return parse(text)
    except ValueError as error:
        what = str(error)
        raise ValueError(what if ";" in what else f"{what}; {advice}") from None


def parse_folder(value: object) -> Path:
    """A path of the file system, as it stands: relative to the folder in which scpd was started."""
    return value if isinstance(value, Path) else Path(parse_text(value))


def parse_secret(value: object) -> str:
    """Text of one line that no sentence repeats."""
    try:
        return parse_text(value)
    except ValueError:
        raise ValueError("it is no text of one line; write one, best as file:/run/secrets/x") from None


def parse_yes_or_no(value: object) -> bool:
    """Yes or no, as YAML has them: true, false."""
    if isinstance(value, bool):
        return value
    raise ValueError(f"{shown(value)} is neither; write true or false")


def parse_name(value: object) -> str:
    """A name of the sysadmin's for something, as it stands in commands and places."""
    text = parse_text(value)
    if not _NAME.fullmatch(text):
        raise ValueError(f"{shown(text)} is no name; write 1 to 64 letters, digits, dots, dashes and underscores")
    return text


def parse_network(value: object) -> str:
    """An IP address, or a network as ``10.20.0.0/16``."""
    text = parse_text(value)
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        raise ValueError(f"{shown(text)} is not {_network_meant(text)}") from None
    if isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped:
        raise ValueError(f"{shown(text)} is an IPv4 address in IPv6, and peers are told as IPv4; write it as such")
    return text


def _network_meant(text: str) -> str:
    try:
        meant = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return "an address; write an IP address or a network, as in 10.20.0.0/16"
    return f"a network, since its address goes beyond the prefix; write {meant}"


def parse_title_glob(value: object) -> str:
    """An AE title, in which ``*`` is any text and ``?`` any character."""
    return with_advice(parse_ae_title, parse_text(value), "write 1 to 16 characters, as in CT*")


def parse_certificate_glob(value: object) -> str:
    """A name in a certificate, as ``CN=ct*.hospital.example`` or ``DNS:*.hospital.example``."""
    text = parse_text(value)
    found = _CERTIFICATE_NAME.fullmatch(text)
    if not found or found[1].lower() not in _CERTIFICATE_KINDS:
        raise ValueError(
            f"{shown(text)} is no name of a certificate; write its kind before it, as in CN=ct*.hospital.example (also "
            "O=, OU= and others of a subject) or DNS:ct*.hospital.example (also IP:, URI:, email:)"
        )
    return text


def parse_rate(value: object) -> tuple[int, float]:
    """So many times in so many seconds: ``10/s``, ``100/m``, ``5/10s``; 0 is no bound."""
    if value in (0, "0") and not isinstance(value, bool):
        return 0, 0.0
    found = _RATE.fullmatch(value) if isinstance(value, str) else None
    if not found or not int(found[1]) or not int(found[2] or 1):
        raise ValueError(f"{shown(value)} is not a rate; write a number for a time, as in 10/s or 100/m")
    return int(found[1]), int(found[2] or 1) * TIME_UNITS[found[3]] / 1000


def format_rate(rate: tuple[int, float]) -> str | int:
    """The text that :func:`parse_rate` reads as this rate."""
    times, seconds = rate
    if not times:
        return 0
    period = _shortest(seconds, _RATE_UNITS)
    return f"{times}/{period.removeprefix('1')}" if period in ("1s", "1m", "1h") else f"{times}/{period}"


def _is_number_or_text(value: object) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)
