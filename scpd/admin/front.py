"""The HTTP server: waitress with bounds of our own, so that nobody who is slow, silent or many can occupy it.

- A connection brings one request and ends with its answer, or when its time is over, whatever it does until then.
- Where there are too many, the oldest that is not being answered makes way: who means it asks at once.
- All of it is done by one thread, and a few more for the answers, which never wait for a reader.

Knows nothing of what is asked.
"""

from __future__ import annotations

import errno
import logging
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, ThreadedTaskDispatcher, WSGITask

from scpd.admin.http import LONGEST_BODY, SECURITY
from scpd.identity.rates import Buckets, Rate
from scpd.names import quote
from scpd.telemetry.logs import logger

if TYPE_CHECKING:
    import socket
    from wsgiref.types import WSGIApplication

MOST_CONNECTIONS = 64
LONGEST_HEADER = 16 * 1024
SECONDS = 20.0
THREADS = 4
_NEVER = 1 << 30
_SCARCE = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS))
_PAUSE = 0.1
_SECONDS_TO_FINISH = 2.0
_MOST_COMPLAINTS = Rate(5, 60.0)


class _Parser(HTTPRequestParser):
    def parse_header(self, header_plus: bytes) -> None:
        try:
            super().parse_header(header_plus)
        except ValueError as error:  # of a length of thousands of digits, of brackets in an address
            raise ParsingError("a number or an address in it cannot be read") from error


class _Task(WSGITask):
    def build_response_header(self) -> Any:
        self.set_close_on_finish()
        return super().build_response_header()


class _Fault(ErrorTask):
    def build_response_header(self) -> Any:
        self.response_headers.extend(SECURITY)
        return super().build_response_header()


class _Channel(HTTPChannel):
    task_class = _Task
    error_task_class = _Fault
    parser_class = _Parser

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self.began = time.monotonic()
        super().__init__(*arguments, **settings)


class _Listening(TcpWSGIServer):
    channel_class = _Channel
    is_short = False

    def accept(self) -> Any:
        try:
            return super().accept()
        except OSError as error:
            self.is_short = error.errno in _SCARCE
            raise

    def handle_error(self) -> None:
        # Of one connection that could not be taken; the others may be.
        self.logger.error("a connection could not be taken", exc_info=sys.exc_info())


class Front:
    """Serves ``app`` on a listening socket, which becomes its own."""

    def __init__(self, app: WSGIApplication, listening: socket.socket) -> None:
        self._told = _Told()
        logging.getLogger("waitress").addHandler(self._told)
        self._map: dict[int, Any] = {}
        self._dispatcher = ThreadedTaskDispatcher()
        self._stopping = threading.Event()
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name="admin", daemon=True)
        try:
            self._dispatcher.set_thread_count(THREADS)
            self._server = self._served(app, listening)
            self._thread.start()
        except BaseException:
            self._dispatcher.shutdown(timeout=_SECONDS_TO_FINISH)
            wasyncore.close_all(self._map, ignore_all=True)
            listening.close()
            logging.getLogger("waitress").removeHandler(self._told)
            raise

    def _served(self, app: WSGIApplication, listening: socket.socket) -> _Listening:
        place = (listening.family, listening.type, listening.proto, listening.getsockname())
        return _Listening(
            app,
            self._map,
            _sock=listening,
            dispatcher=self._dispatcher,
            adj=_adjustments(),
            sockinfo=place,
            bind_socket=False,
        )

    def close(self) -> None:
        """Ends what is being answered, within seconds, and gives back every descriptor."""
        if not self._stopping.is_set():
            self._stopping.set()
            self._server.pull_trigger()
            self._woken.set()
        self._thread.join(2 * _SECONDS_TO_FINISH)
        logging.getLogger("waitress").removeHandler(self._told)

    def _run(self) -> None:
        server = self._server
        while not self._stopping.is_set():
            wait = 1.0 if server.active_channels else 60.0
            wasyncore.loop(wait, use_poll=True, map=self._map, count=1)
            self._let_go(time.monotonic())
            if server.is_short:
                self._stopping.wait(_PAUSE)
                server.is_short = False
        self._woken.wait()  # whoever wakes this thread writes to a descriptor that is closed below
        wasyncore.dispatcher.close(server)
        self._dispatcher.shutdown(timeout=_SECONDS_TO_FINISH)
        wasyncore.close_all(self._map, ignore_all=True)

    def _let_go(self, now: float) -> None:
        channels = list(self._server.active_channels.values())  # the oldest first
        crowd = len(channels) - MOST_CONNECTIONS
        for channel in channels:
            if now - channel.began > SECONDS or (crowd > 0 and not channel.requests):
                channel.handle_close()
                crowd -= 1


def _adjustments() -> Adjustments:
    return Adjustments(
        connection_limit=2 * MOST_CONNECTIONS,  # ours comes first
        channel_timeout=_NEVER,
        cleanup_interval=_NEVER,
        max_request_header_size=LONGEST_HEADER,
        max_request_body_size=LONGEST_BODY,
        # Neither a temporary file nor a thread that waits for somebody to read.
        inbuf_overflow=_NEVER,
        outbuf_overflow=_NEVER,
        outbuf_high_watermark=_NEVER,
        log_socket_errors=False,
        ident=None,
    )


class _Told(logging.Handler):
    """Waitress's errors, in our log; what it says of peers is their own affair."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._log = logger("admin")
        self._complaints = Buckets(_MOST_COMPLAINTS)
        waitress = logging.getLogger("waitress")
        waitress.propagate = False
        waitress.setLevel(logging.ERROR)

    def emit(self, record: logging.LogRecord) -> None:
        if self._complaints.take("", time.monotonic()):
            self._log.error("admin endpoint failed", what=quote(record.getMessage(), 200), exc_info=record.exc_info)
