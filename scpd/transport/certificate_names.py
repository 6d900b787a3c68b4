r"""Whom a certificate names, as texts that rules about access are matched with.

``CN=ct1.hospital.example`` is an attribute of the subject, ``DNS:ct1.hospital.example`` an alternative name. Each value
stays one text whatever stands in it, and what comes before its first ``=`` or ``:`` is never the peer's to choose: a
common name of ``x,O=Hospital`` is the text ``CN=x,O=Hospital`` and no organization. Characters that cannot be seen are
escaped as Python does (``\x00``), and so are the backslash and the ellipsis, which marks what was cut.

Knows no file, and takes certificates as :mod:`ssl` gives them.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MOST_NAMES = 100
LONGEST_NAME = 256

# OpenSSL's long names of attribute types, which ssl gives, and the short ones, which `openssl x509 -subject` prints.
_SHORT = {
    "commonName": "CN",
    "countryName": "C",
    "domainComponent": "DC",
    "givenName": "GN",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
    "streetAddress": "street",
    "surname": "SN",
    "userId": "UID",
}
_TAKEN = frozenset(_SHORT.values())
# Any other type keeps its name (emailAddress, serialNumber), or its number where OpenSSL has no name for it.
_TYPE = re.compile(r"[\w .()/-]{1,64}", re.ASCII)
_ALTERNATIVE = {"DNS": "DNS", "IP Address": "IP", "URI": "URI", "email": "email"}


def names(peer_certificate: Mapping[str, Any] | None) -> tuple[str, ...]:
    """The subject's attributes and then the alternative names of a certificate, in its own order, each as one text.

    ``peer_certificate`` is what :meth:`ssl.SSLSocket.getpeercert` gives: none, or an empty one, has no names. At most
    100 are given, each of at most 256 characters; a longer one is cut and ends in ``…``.
    """
    certificate = peer_certificate or {}
    found = dict.fromkeys((*_attributes(certificate), *_alternatives(certificate)))
    return tuple(found)[:MOST_NAMES]


def _attributes(certificate: Mapping[str, Any]) -> Iterator[str]:
    for relative_name in certificate.get("subject", ()):
        for kind, value in relative_name:
            label = _SHORT.get(kind, kind)
            if kind in _SHORT or (kind not in _TAKEN and _TYPE.fullmatch(kind)):
                yield _text(f"{label}=", value)


def _alternatives(certificate: Mapping[str, Any]) -> Iterator[str]:
    for kind, value in certificate.get("subjectAltName", ()):
        if kind in _ALTERNATIVE:
            yield _text(f"{_ALTERNATIVE[kind]}:", _address(value) if kind == "IP Address" else value)


def _address(value: str) -> str:
    """An address as people write it; ssl gives every group of IPv6 (``2001:DB8:0:0:0:0:0:1``)."""
    try:
        return str(ip_address(value))
    except ValueError:
        return value


def _text(label: str, value: str) -> str:
    text = label + "".join(one if one.isprintable() and one not in "\\…" else _escape(one) for one in value)
    return text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 1] + "…"


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()
