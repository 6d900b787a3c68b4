"""Who comes to look through what is held is let in or not, gets what is asked for, and is written down.

Whoever reaches the port may read the status page; what names patients is for those who have the token.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode

from scpd.admin.facts import Look
from scpd.admin.frame import Notice
from scpd.admin.held import instance, pages, walk
from scpd.admin.held.instance import Neighbours
from scpd.admin.held.outline import Around, Ref
from scpd.admin.held.search import FIELDS, Misunderstood, Place, search, understood
from scpd.admin.held.sessions import LONGEST, Sessions
from scpd.admin.held.telling import uid
from scpd.admin.held.viewer import Viewer
from scpd.admin.http import HTML, TEXT, Request, Response
from scpd.errors import IndexUnavailable
from scpd.telemetry.logs import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from scpd.admin.facts import Daemon, Holding
    from scpd.admin.gate import Gate
    from scpd.admin.held.sessions import Session
    from scpd.admin.held.viewer import Sheet
    from scpd.index.attributes import Attributes
    from scpd.index.query import Held

PATH = "/held"
_SIGN_OUT = "/held/sign-out"
_PICTURE = "/held/picture.png"
_COOKIE = "scpd_held"
_PNG = "image/png"
# So many are answered at a time, for the other threads are for load balancers; and how long one waits (seconds).
_AT_A_TIME, _PATIENCE = 2, 1.0
_NO_INDEX = "No server has an index of what it holds. To look through it, write index: {} in the configuration."
_BUSY = "Two are being answered already. Ask again in a moment."
_MOST_DIGITS = 9


class _Refused(Exception):
    """An answer that is only a sentence."""

    def __init__(self, status: int, title: str, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.title = title
        self.why = why


class _Visit(NamedTuple):
    """A request of somebody who may look, and what it is about; no session with ``Authorization``."""

    request: Request
    session: Session | None
    holding: Holding
    ref: Ref

    @property
    def uids(self) -> tuple[str, ...]:
        """The unique keys of what it is about, from the top."""
        return tuple(filter(None, self.ref[1:]))

    @property
    def around(self) -> Around:
        """What its page shows beside its own."""
        trouble = self.holding.archive.trouble()
        words = (
            f"The index of {', '.join(self.holding.servers)} is in trouble: {trouble}. Something may be missing here."
        )
        return Around(self.session is not None, Notice(words, is_bad=True) if trouble else None)


class Desk:
    """Answers all below ``/held``, from any thread."""

    def __init__(self, daemon: Daemon, gate: Gate) -> None:
        self._daemon = daemon
        self._gate = gate
        self._sessions = Sessions()
        self._viewer = Viewer()
        self._turns = threading.BoundedSemaphore(_AT_A_TIME)
        self._log = logger("admin")
        self._paths: Mapping[str, tuple[int, Callable[[_Visit], Response]]] = {
            PATH: (0, self._studies),
            "/held/study": (1, self._study),
            "/held/series": (2, self._series),
            "/held/instance": (3, self._instance),
            _PICTURE: (3, self._picture),
        }

    def end_all(self) -> None:
        """Another token counts: who has signed in has to do so again."""
        self._sessions.end_all()

    def answer(self, request: Request) -> Response:
        """To whoever asks for something below ``/held``."""
        if request.method == "POST":
            return self._sign_out(request) if request.path == _SIGN_OUT else self._sign_in(request)
        if request.method not in ("GET", "HEAD"):
            return Response(405, "GET, HEAD, POST only\n", headers=(("Allow", "GET, HEAD, POST"),))
        session = self._session(request)
        if session is None and (refusal := self._gate.refusal(request.bearer, request.address)):
            is_new = refusal.status == 401 and not request.bearer
            return self._closed(request, refusal.status, "" if is_new else refusal.why, refusal.wait)
        try:
            with self._turn():
                return self._shown(request, session)
        except _Refused as error:
            return _sentence(request, error.status, error.title, error.why, session)
        except IndexUnavailable as error:
            why = f"The index cannot be asked now: {error}."
            return _sentence(request, 503, "The index cannot be asked", why, session)

    def _session(self, request: Request) -> Session | None:
        return self._sessions.find(request.cookies.get(_COOKIE, ""), time.monotonic()) if self._gate.can_open else None

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._turns.acquire(timeout=_PATIENCE):
            raise _Refused(503, "Busy", _BUSY)
        try:
            yield
        finally:
            self._turns.release()

    # -- coming and going

    def _sign_in(self, request: Request) -> Response:
        """A form sent to any page: the session begins, and that page comes again."""
        refusal = self._gate.refusal(request.form.get("token", ""), request.address)
        if refusal:
            return self._closed(request, refusal.status, refusal.why, refusal.wait)
        self._log.info("signed in to look through what is held", peer=request.address)
        path = request.path if request.path in self._paths else PATH
        query = f"?{urlencode(request.query, errors='replace')}" if request.query else ""
        cookie = _cookie(request, self._sessions.begin(time.monotonic()), int(LONGEST))
        return Response(303, "", headers=(("Location", f"{path}{query}"), ("Set-Cookie", cookie)))

    def _sign_out(self, request: Request) -> Response:
        self._sessions.end(request.cookies.get(_COOKIE, ""))
        return Response(303, "", headers=(("Location", PATH), ("Set-Cookie", _cookie(request, "", 0))))

    def _closed(self, request: Request, status: int, why: str, wait: int) -> Response:
        """To somebody who may not look: how that is changed."""
        sentence = f"{why[:1].upper()}{why[1:]}{why and '.'}"
        headers = (("Retry-After", str(wait)),) if wait else ()
        if status == 401:
            headers = (("WWW-Authenticate", 'Bearer realm="scpd"'),)
        if request.path == _PICTURE or request.bearer:
            return Response(status, f"{sentence or 'Sign in at /held, or give the token.'}\n", TEXT, headers)
        if not self._gate.can_open:
            around = Around(can_sign_out=False)
            return Response(status, pages.message("Nobody may look", sentence, around), HTML, headers)
        return Response(status, pages.sign_in(Notice(sentence, is_bad=True) if why else None), HTML, headers)

    # -- what there is to see

    def _shown(self, request: Request, session: Session | None) -> Response:
        if request.path not in self._paths:
            raise _Refused(404, "Not found", f"There is nothing here; there are {', '.join(self._paths)}.")
        level, show = self._paths[request.path]
        ref = Ref(*(request.query.get(name, "") for name in Ref._fields))
        if not all(ref[1 : level + 1]) or not all(map(str.isprintable, ref)):
            raise _Refused(404, "Not found", "The address does not say what to show.")
        holding = self._holding(ref.server)
        server = holding.name if len(self._daemon.holdings()) > 1 else ""
        return show(_Visit(request, session, holding, Ref(server, *ref[1 : level + 1])))

    def _holding(self, server: str) -> Holding:
        holdings = self._daemon.holdings()
        if not holdings:
            raise _Refused(404, "No index", _NO_INDEX)
        for holding in holdings:
            if not server or server in holding.servers:
                return holding
        raise _Refused(404, "Not found", "No server of this name has an index.")

    def _studies(self, visit: _Visit) -> Response:
        fields = {name: visit.request.query[name] for name in FIELDS if visit.request.query.get(name)}
        names = [holding.servers for holding in self._daemon.holdings()]
        try:
            after = visit.request.query.get("after")
            asked, place = understood(fields), Place.parse(after) if after else None
        except Misunderstood as error:
            around = visit.around._replace(notice=Notice(f"This cannot be looked for: {error}.", is_bad=True))
            return Response(400, pages.studies(visit.ref, names, fields, None, around), HTML)
        today = datetime.now().astimezone().date()
        found = search(visit.holding.archive, asked, place, pages.LISTED, today)
        return Response(200, pages.studies(visit.ref, names, fields, found, visit.around), HTML)

    def _study(self, visit: _Visit) -> Response:
        told = self._one(visit, pages.STUDY)
        its_series = walk.series_of(visit.holding.archive, visit.uids, pages.SERIES)
        return Response(200, pages.study(visit.ref, told, its_series, visit.around), HTML)

    def _series(self, visit: _Visit) -> Response:
        told = self._one(visit, pages.STUDY | pages.SERIES)
        instances = walk.instances_of(visit.holding.archive, visit.uids, pages.INSTANCE)
        first = _number(visit.request, "first", 0)
        return Response(200, pages.series(visit.ref, told, instances, first, visit.around), HTML)

    def _instance(self, visit: _Visit) -> Response:
        told = self._one(visit, pages.STUDY | pages.SERIES | pages.INSTANCE)
        frame = _number(visit.request, "frame", 1)
        file, sheet = self._sheet(visit, frame)
        beside = _neighbours(walk.instances_of(visit.holding.archive, visit.uids[:2], walk.ORDER), visit.ref.instance)
        return Response(200, instance.instance(visit.ref, told, file, sheet, beside, frame, visit.around), HTML)

    def _picture(self, visit: _Visit) -> Response:
        self._one(visit, pages.STUDY)
        _, sheet = self._sheet(visit, _number(visit.request, "frame", 1))
        if not sheet.png:
            raise _Refused(404, "No picture", f"There is no picture: {sheet.no_picture}")
        return Response(200, sheet.png, _PNG)

    def _one(self, visit: _Visit, wanted: frozenset[int]) -> Attributes:
        """What a page is about; that it was looked at is written down."""
        told = walk.one(visit.holding.archive, visit.uids, wanted)
        if told is None:
            raise _Refused(404, "Not found", "It is not held, or not any more.")
        study = visit.holding.name, visit.ref.study
        if visit.session is None or visit.session.is_new(study):
            self._daemon.looked(Look(visit.request.address, *walk.seen(visit.holding.archive, told)))
        return told

    def _sheet(self, visit: _Visit, frame: int) -> tuple[Held, Sheet]:
        file = walk.file_of(visit.holding.archive, visit.uids)
        if file is None:
            raise _Refused(404, "Not found", "It is not held, or not any more.")
        return file, self._viewer.look(file.path, frame)


def _sentence(request: Request, status: int, title: str, why: str, session: Session | None) -> Response:
    if request.path == _PICTURE:
        return Response(status, f"{why}\n", TEXT)
    return Response(status, pages.message(title, why, Around(session is not None)), HTML)


def _cookie(request: Request, value: str, seconds: int) -> str:
    # A browser says where its form came from: by HTTPS through a proxy, and then it comes back that way alone.
    secure = "; Secure" if (request.origin or "").startswith("https://") else ""
    return f"{_COOKIE}={value}; Path={PATH}; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"


def _number(request: Request, name: str, usual: int) -> int:
    text = request.query.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS else usual


def _neighbours(instances: list[Attributes], this: str) -> Neighbours:
    uids = [uid(each, "SOPInstanceUID") for each in instances]
    if this not in uids:
        return Neighbours("", "", 0, len(uids))
    place = uids.index(this)
    before = uids[place - 1] if place else ""
    after = uids[place + 1] if place + 1 < len(uids) else ""
    return Neighbours(before, after, place + 1, len(uids))
