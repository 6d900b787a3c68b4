"""What is answered to what: the paths of the endpoint, and the two things that may be done there.

Knows no socket and no thread.
"""

from __future__ import annotations

import json
import re
import time
from datetime import datetime
from importlib.resources import files
from typing import TYPE_CHECKING

from scpd.admin.frame import Notice
from scpd.admin.held import desk
from scpd.admin.http import HTML, JSON, TEXT, Broken, Request, Response
from scpd.admin.inquiry import Unanswered
from scpd.admin.markup import printable
from scpd.admin.metrics import Exposition
from scpd.admin.page import NOTICES, Sight, page
from scpd.admin.status import status
from scpd.names import quote
from scpd.telemetry.logs import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from wsgiref.types import StartResponse, WSGIEnvironment

    from scpd.admin.facts import Daemon
    from scpd.admin.gate import Gate
    from scpd.admin.history import History
    from scpd.admin.hosts import Hosts
    from scpd.admin.inquiry import Inquiry

    Answering = Callable[[Request], Response]

_ASSETS = {
    "/status.css": "text/css; charset=utf-8",
    "/status.js": "text/javascript; charset=utf-8",
    "/icon.svg": "image/svg+xml",
}
_ABORT = re.compile(r"/associations/([0-9A-Za-z-]{1,64})/abort", re.ASCII)
_MISDIRECTED = "this endpoint is not called {}; ask for it by IP address or localhost, or write the name to admin.hosts"
_NOT_FROM_HERE = "this came from a page of elsewhere, {}; use the status page, or a script with Authorization: Bearer"


class App:
    """The WSGI application."""

    def __init__(self, daemon: Daemon, inquiry: Inquiry, history: History, gate: Gate, hosts: Hosts) -> None:
        self._daemon = daemon
        self._inquiry = inquiry
        self._history = history
        self._gate = gate
        self._hosts = hosts
        self._log = logger("admin")
        self._desk = desk.Desk(daemon, gate)
        self._exposition = Exposition(inquiry)
        self._assets = {path: (files(__package__) / path[1:]).read_bytes() for path in _ASSETS}
        self._paths: Mapping[str, Answering] = {
            "/": self._page,
            "/live": lambda _: Response(200, "alive\n"),
            "/ready": self._ready,
            "/metrics": self._metrics,
            "/status.json": self._status,
            **dict.fromkeys(_ASSETS, self._asset),
        }

    def admit(self, token: str | None, hosts: Hosts) -> None:
        """Another token and other names from now on."""
        self._gate.change(token)
        self._desk.end_all()
        self._hosts = hosts

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        try:
            response = self._answer(Request.of(environ))
        except Broken as error:
            response = Response(400, f"{error}\n")
        except Unanswered as error:
            response = Response(503, f"{error}\n")
        return response.send(start, is_head=environ["REQUEST_METHOD"] == "HEAD")

    def _answer(self, request: Request) -> Response:
        if not self._is_asked_for(request.host):
            return Response(421, _MISDIRECTED.format(quote(request.host or "")) + "\n")
        if request.method == "POST" and _is_foreign(request):
            return Response(403, _NOT_FROM_HERE.format(quote(request.origin or "")) + "\n")
        if request.path == desk.PATH or request.path.startswith(f"{desk.PATH}/"):
            return self._desk.answer(request)
        if (reading := self._paths.get(request.path)) is not None:
            return _allowed(request, ("GET", "HEAD"), reading)
        if (doing := self._doing(request.path)) is not None:
            return _allowed(request, ("POST",), doing)
        known = ", ".join((*(path for path in self._paths if path not in _ASSETS), desk.PATH))
        return Response(404, f"there is nothing at {quote(request.path)}; there are {known}\n")

    def _is_asked_for(self, host: str | None) -> bool:
        # Browsers always say; load balancers with HTTP/1.0 need not.
        try:
            return host is None or self._hosts.know(host)
        except ValueError as error:
            raise Broken(str(error)) from None

    def _asset(self, request: Request) -> Response:
        return Response(200, self._assets[request.path], _ASSETS[request.path])

    def _ready(self, request: Request) -> Response:
        parts = self._inquiry.readiness()
        is_ready = all(part.is_ready for part in parts)
        number = 200 if is_ready else 503
        if request.wants_json:
            told = [{"name": part.name, "ready": part.is_ready, "why": part.why} for part in parts]
            return Response(number, json.dumps({"ready": is_ready, "parts": told}) + "\n", JSON)
        lines = [
            printable(f"{part.name}: {'ready' if part.is_ready else 'not ready'}{part.why and f': {part.why}'}")
            for part in parts
        ]
        return Response(number, "".join(" ".join(line.split("\n")) + "\n" for line in lines))

    def _metrics(self, request: Request) -> Response:
        return Response(200, *self._exposition.text(request.accept))

    def _status(self, _: Request) -> Response:
        facts, parts = self._inquiry.facts(), self._inquiry.readiness()
        return Response(200, json.dumps(status(facts, parts)) + "\n", JSON)

    def _page(self, request: Request) -> Response:
        return self._shown(200, NOTICES.get(request.query.get("said", "")))

    def _shown(self, number: int, notice: Notice | None) -> Response:
        facts, parts = self._inquiry.facts(), self._inquiry.readiness()
        now = time.monotonic()
        rates = {live.association_id: self._history.rate(live, now) for server in facts.servers for live in server.live}
        here = datetime.now().astimezone()
        points, has_index = self._history.points(now), bool(self._daemon.holdings())
        sight = Sight(facts, parts, points, rates, here, self._gate.can_open, notice, has_index)
        return Response(number, page(sight), HTML)

    def _doing(self, path: str) -> Answering | None:
        found = _ABORT.fullmatch(path)
        if found:
            return lambda request: self._guarded(request, lambda: self._abort(request, found[1]))
        if path == "/drain":
            return lambda request: self._guarded(request, lambda: self._drain(request))
        return None

    def _guarded(self, request: Request, do: Callable[[], Response]) -> Response:
        token = request.bearer or request.form.get("token")
        refusal = self._gate.refusal(token, request.address)
        if refusal is None:
            return do()
        response = self._said(request, refusal.status, refusal.why)
        waiting = (("Retry-After", str(refusal.wait)),) if refusal.wait else ()
        asking = (("WWW-Authenticate", 'Bearer realm="scpd"'),) if refusal.status == 401 else ()
        return response._replace(headers=(*response.headers, *waiting, *asking))

    def _abort(self, request: Request, association_id: str) -> Response:
        was_there = self._daemon.abort(association_id)
        self._log.warning("abort asked for", association=association_id, was_there=was_there, peer=request.address)
        if not request.bearer:
            return _back("aborted" if was_there else "gone")
        notice = NOTICES["aborted" if was_there else "gone"]
        return Response(200 if was_there else 404, f"{notice.text}\n")

    def _drain(self, request: Request) -> Response:
        if not request.bearer and request.form.get("confirm") != "yes":
            return self._shown(400, NOTICES["unconfirmed"])
        self._log.warning("drain asked for", peer=request.address)
        self._daemon.drain()
        return Response(202, f"{NOTICES['draining'].text}\n") if request.bearer else _back("draining")

    def _said(self, request: Request, number: int, why: str) -> Response:
        """To a browser's form with the page around it."""
        if not request.form:
            return Response(number, f"{why}\n", TEXT)
        return self._shown(number, Notice(f"{why[0].upper()}{why[1:]}.", is_bad=True))


def _is_foreign(request: Request) -> bool:
    """Whether a form comes from a page of elsewhere; scripts do not say where they come from."""
    return bool(request.origin) and (request.origin or "").partition("://")[2] != request.host


def _allowed(request: Request, methods: tuple[str, ...], answering: Answering) -> Response:
    if request.method in methods:
        return answering(request)
    allowed = ", ".join(methods)
    return Response(405, f"{allowed} only\n", headers=(("Allow", allowed),))


def _back(said: str) -> Response:
    return Response(303, "", headers=(("Location", f"/?said={said}"),))
