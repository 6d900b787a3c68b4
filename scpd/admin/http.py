"""Requests and responses as the rest of this room sees them: WSGI on one side, plain values on the other."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs

from scpd.errors import ScpdError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from wsgiref.types import StartResponse, WSGIEnvironment

TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
JSON = "application/json"
LONGEST_BODY = 16 * 1024
_FORM = "application/x-www-form-urlencoded"
_MOST_FIELDS = 16
_BEARER = re.compile(r"bearer +([!-~]+) *", re.ASCII | re.IGNORECASE)

SECURITY = (
    (
        "Content-Security-Policy",
        (
            "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
            "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        ),
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    # Not no-referrer: a form's Origin would be null with it.
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
)
"""What every response says."""


class Broken(ScpdError):
    """A request that cannot be understood."""


class Response(NamedTuple):
    """What is answered; ``headers`` beside those that every response has."""

    status: int
    body: str | bytes
    media: str = TEXT
    headers: tuple[tuple[str, str], ...] = ()

    def send(self, start: StartResponse, *, is_head: bool) -> Iterable[bytes]:
        """As WSGI has it; to HEAD the same without its body."""
        body = self.body if isinstance(self.body, bytes) else self.body.encode("utf-8", "backslashreplace")
        about = (("Content-Type", self.media), ("Content-Length", str(len(body))))
        start(f"{self.status} {HTTPStatus(self.status).phrase}", [*about, *SECURITY, *self.headers])
        return [] if is_head else [body]


@dataclass(frozen=True)
class Request:
    """What is asked. ``path`` is decoded as Latin-1, like all of it; ``address`` is who asks.

    ``host`` is None where there is no such header, which is allowed before HTTP/1.1. ``form`` has the fields of a
    browser's form.
    """

    method: str
    path: str
    address: str
    host: str | None = None
    accept: str = ""
    origin: str | None = None
    bearer: str | None = field(default=None, repr=False)
    query: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] = field(default_factory=dict, repr=False)
    cookies: Mapping[str, str] = field(default_factory=dict, repr=False)

    @staticmethod
    def of(environ: WSGIEnvironment) -> Request:
        """Raises :class:`Broken`."""
        host = environ.get("HTTP_HOST")
        if host is None and environ["SERVER_PROTOCOL"] == "HTTP/1.1":
            raise Broken("there is no Host header")
        bearer = _BEARER.fullmatch(environ.get("HTTP_AUTHORIZATION", ""))
        return Request(
            environ["REQUEST_METHOD"],
            environ["PATH_INFO"],
            environ["REMOTE_ADDR"],
            host,
            environ.get("HTTP_ACCEPT", ""),
            environ.get("HTTP_ORIGIN"),
            bearer[1] if bearer else None,
            _fields(environ.get("QUERY_STRING", "")),
            _form(environ),
            _cookies(environ.get("HTTP_COOKIE", "")),
        )

    @property
    def wants_json(self) -> bool:
        """Whether the Accept header names JSON."""
        return any(part.partition(";")[0].strip().lower() == JSON for part in self.accept.split(","))


def _cookies(header: str) -> Mapping[str, str]:
    pairs = (part.partition("=") for part in header.split(";"))
    return {name.strip(): value.strip() for name, _, value in pairs}


def _form(environ: WSGIEnvironment) -> Mapping[str, str]:
    if environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower() != _FORM:
        return {}
    return _fields(environ["wsgi.input"].read(LONGEST_BODY).decode("latin-1"))


def _fields(text: str) -> Mapping[str, str]:
    """The first value of each field. Raises :class:`Broken`."""
    try:
        parsed = parse_qs(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise Broken("the query or the form is none, or has too many fields") from None
    return {name: values[0] for name, values in parsed.items()}
