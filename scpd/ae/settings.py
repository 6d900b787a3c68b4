"""What an Application Entity is set to: its names, its limits, its patience. Each is checked where it is set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydicom.uid import UID

from scpd.ae import arguments
from scpd.names import parse_ae_title
from scpd.version import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from scpd.wire.pdu import LEAST_MAXIMUM_LENGTH

if TYPE_CHECKING:
    from collections.abc import Iterable

_LARGEST_PDU = 16 * 1024 * 1024
# The longest data set of a message (bytes): of a C-STORE, and of one that nobody wants and that is read over.
DATA_SET_LIMIT = 8 * 1024 * 1024 * 1024


class Settings:
    """The settings of an Application Entity.

    Times are in seconds, None waits without end. ``acse_timeout`` is for the answer to an association request or
    release, ``dimse_timeout`` for each response and within a message, ``network_timeout`` for a peer that asks nothing,
    ``connection_timeout`` for a connection to come about, ``write_timeout`` for a peer that does not read.
    """

    def __init__(self, ae_title: str) -> None:
        self.ae_title = ae_title
        self._timeouts: dict[str, float | None] = {
            "acse": 30.0,
            "dimse": 30.0,
            "network": 60.0,
            "connection": 30.0,
            "write": 60.0,
        }
        self._maximum_pdu_size = 256 * 1024
        self._maximum_associations = 200
        self._require_called = False
        self._require_calling: list[str] = []
        self._implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
        self._implementation_version_name: str | None = IMPLEMENTATION_VERSION_NAME

    def associate(self, addr: str, port: int, **keywords: Any) -> Any:
        """An association with these settings: what has them can ask for one."""
        raise NotImplementedError

    # -- who it is

    @property
    def ae_title(self) -> str:
        """The AE title, without insignificant spaces: 1 to 16 characters of ISO 646 G0 but the backslash.

        Setting it raises :class:`ValueError` with the rule that is broken (PS3.5 table 6.2-1), :class:`TypeError` for
        what is no text.
        """
        return self._ae_title

    @ae_title.setter
    def ae_title(self, value: str) -> None:
        self._ae_title = parse_ae_title(arguments.text("ae_title", value))

    @property
    def implementation_class_uid(self) -> UID:
        """How the implementation names itself to peers (PS3.7 D.3.3.2)."""
        return self._implementation_class_uid

    @implementation_class_uid.setter
    def implementation_class_uid(self, value: str) -> None:
        self._implementation_class_uid = UID(arguments.uid("implementation_class_uid", value))

    @property
    def implementation_version_name(self) -> str | None:
        """Its version: 1 to 16 characters of ISO 646, or None to say none (PS3.7 D.3.3.2)."""
        return self._implementation_version_name

    @implementation_version_name.setter
    def implementation_version_name(self, value: str | None) -> None:
        if value is not None:
            value = arguments.text("implementation_version_name", value)
            if not 1 <= len(value) <= 16 or not (value.isascii() and value.isprintable()):
                raise ValueError(f"implementation_version_name is 1 to 16 printable ASCII characters, not {value!r}")
        self._implementation_version_name = value

    # -- limits and times

    @property
    def acse_timeout(self) -> float | None:
        """The longest wait for the answer to an association request or release, in seconds."""
        return self._timeouts["acse"]

    @acse_timeout.setter
    def acse_timeout(self, value: float | None) -> None:
        self._timeouts["acse"] = arguments.timeout("acse_timeout", value)

    @property
    def dimse_timeout(self) -> float | None:
        """The longest wait for a response, and for a message to go on, in seconds."""
        return self._timeouts["dimse"]

    @dimse_timeout.setter
    def dimse_timeout(self, value: float | None) -> None:
        self._timeouts["dimse"] = arguments.timeout("dimse_timeout", value)

    @property
    def network_timeout(self) -> float | None:
        """How long an association that somebody attends to may be silent, in seconds."""
        return self._timeouts["network"]

    @network_timeout.setter
    def network_timeout(self, value: float | None) -> None:
        self._timeouts["network"] = arguments.timeout("network_timeout", value)

    @property
    def connection_timeout(self) -> float | None:
        """The longest wait for a connection, TLS included, in seconds."""
        return self._timeouts["connection"]

    @connection_timeout.setter
    def connection_timeout(self, value: float | None) -> None:
        self._timeouts["connection"] = arguments.timeout("connection_timeout", value)

    @property
    def write_timeout(self) -> float | None:
        """How long a peer may refuse to take what is sent to it, in seconds."""
        return self._timeouts["write"]

    @write_timeout.setter
    def write_timeout(self, value: float | None) -> None:
        self._timeouts["write"] = arguments.timeout("write_timeout", value)

    @property
    def maximum_pdu_size(self) -> int:
        """The longest P-DATA-TF body that is taken, in bytes (PS3.8 D.1); 0, unlimited, is not offered to anybody."""
        return self._maximum_pdu_size

    @maximum_pdu_size.setter
    def maximum_pdu_size(self, value: int) -> None:
        self._maximum_pdu_size = pdu_size("maximum_pdu_size", value)

    @property
    def maximum_associations(self) -> int:
        """The most associations at one time of each server; the next is rejected for now (2, 3, 2)."""
        return self._maximum_associations

    @maximum_associations.setter
    def maximum_associations(self, value: int) -> None:
        self._maximum_associations = arguments.number("maximum_associations", value, least=1, most=100_000)

    @property
    def require_called_aet(self) -> bool:
        """Whether servers take only requests for their own AE title."""
        return self._require_called

    @require_called_aet.setter
    def require_called_aet(self, value: bool) -> None:
        self._require_called = arguments.boolean("require_called_aet", value)

    @property
    def require_calling_aet(self) -> list[str]:
        """The AE titles that may call servers; empty for any."""
        return list(self._require_calling)

    @require_calling_aet.setter
    def require_calling_aet(self, value: Iterable[str]) -> None:
        if isinstance(value, str):
            raise TypeError(f"require_calling_aet is a list of AE titles, not the text {value!r}")
        self._require_calling = [arguments.ae_title("require_calling_aet", title) for title in value]


def pdu_size(name: str, value: object) -> int:
    """The longest P-DATA-TF body that is taken, in bytes."""
    return arguments.number(name, value, least=LEAST_MAXIMUM_LENGTH, most=_LARGEST_PDU)
