"""What programs pass in, checked: each error names the argument, the value and the rule. Knows nothing else."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from typing import Any

from pydicom.dataset import Dataset

from scpd.names import parse_ae_title, parse_uid

_MOST = 0xFFFF
# How long a wait is that its owner wants without end (seconds): the clocks of the system take no more.
_FOR_EVER = 10 * 365 * 24 * 3600.0


def text(name: str, value: object) -> str:
    """A text."""
    if not isinstance(value, str):
        raise TypeError(f"{name} is a text, not {_type(value)}")
    return str(value)


def uid(name: str, value: object) -> str:
    """A UID (PS3.5 9.1)."""
    try:
        return parse_uid(text(name, value))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def ae_title(name: str, value: object) -> str:
    """An AE title without its insignificant spaces (PS3.5 table 6.2-1)."""
    try:
        return parse_ae_title(text(name, value))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def number(name: str, value: object, least: int = 0, most: int = _MOST) -> int:
    """A whole number within bounds: 16 bits, unless told."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} is a whole number, not {_type(value)}")
    if not least <= value <= most:
        raise ValueError(f"{name} is {least} to {most}, not {value}")
    return int(value)


def priority(value: object) -> int:
    """A Priority (PS3.7 9.1.1.1)."""
    if isinstance(value, bool) or value not in (0, 1, 2):
        raise ValueError(f"priority is 0 (medium), 1 (high) or 2 (low), not {value!r}")
    return int(value)


def boolean(name: str, value: object) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} is True or False, not {value!r}")
    return value


def timeout(name: str, value: object) -> float | None:
    """A time in seconds, or None for no end."""
    if value is None:
        return None
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"{name} is a number of seconds, or None to wait without end, not {_type(value)}")
    if not value > 0:
        raise ValueError(f"{name} is more than 0 seconds, or None to wait without end, not {value!r}")
    return float(value)


def seconds(value: float | None) -> float:
    """A time-out as a number that every clock takes."""
    return _FOR_EVER if value is None else min(value, _FOR_EVER)


def several(name: str, value: object) -> list[Any]:
    """Any number of things; none for None."""
    if value is None:
        return []
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"{name} is a list, not {_type(value)}")
    return list(value)


def client_tls(name: str, value: object) -> tuple[ssl.SSLContext, str | None]:
    """An SSL context for a client, and the host name that the peer's certificate must have."""
    if not isinstance(value, (tuple, list)) or len(value) != 2 or not isinstance(value[0], ssl.SSLContext):
        raise TypeError(f"{name} is (ssl.SSLContext, host name or None), not {_type(value)}")
    context, hostname = value
    if hostname is not None and not isinstance(hostname, str):
        raise TypeError(f"{name}[1] is a host name or None, not {_type(hostname)}")
    if context.protocol == ssl.PROTOCOL_TLS_SERVER:
        raise ValueError(f"{name}[0] is a context for servers: make one with ssl.PROTOCOL_TLS_CLIENT")
    if context.check_hostname and not hostname:
        raise ValueError(
            f"{name}[1] is the host name that the peer's certificate must have, since check_hostname is set"
        )
    return context, hostname


def server_tls(name: str, value: object) -> ssl.SSLContext | None:
    """An SSL context for a server, or None for no TLS."""
    if value is None:
        return None
    if not isinstance(value, ssl.SSLContext):
        raise TypeError(f"{name} is an ssl.SSLContext or None, not {_type(value)}")
    if value.protocol == ssl.PROTOCOL_TLS_CLIENT:
        raise ValueError(f"{name} is a context for clients: make one with ssl.PROTOCOL_TLS_SERVER")
    return value


def data_set(name: str, value: object) -> Dataset:
    """A data set of pydicom's."""
    if not isinstance(value, Dataset):
        raise TypeError(f"{name} is a pydicom Dataset, not {_type(value)}")
    return value


def address(name: str, value: object) -> tuple[str, int]:
    """A host and a port."""
    if not isinstance(value, (tuple, list)) or len(value) < 2:
        raise TypeError(f"{name} is (host, port), not {value!r}")
    host, port = value[:2]
    return text(f"{name}[0]", host), number(f"{name}[1]", port)


def _type(value: object) -> str:
    return f"a {type(value).__name__}: {value!r:.80}"
