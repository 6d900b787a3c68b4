"""What programs pass in, checked: each error names the argument, the value and the rule. Knows nothing else."""

from __future__ import annotations

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
    """A time-out as a number."""
    return _FOR_EVER if value is None else value


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
