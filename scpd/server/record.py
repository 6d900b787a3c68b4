"""What is told of an association when it has ended: one canonical line, or one line of why there was none."""

from __future__ import annotations

import itertools
import secrets
import time
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from scpd.dimse.status import Category, category
from scpd.names import AE_TITLE_LENGTH, quote
from scpd.negotiation.reject import reason, words
from scpd.sop_class import uid_keyword
from scpd.telemetry.statistics import Refusal, Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from structlog.typing import FilteringBoundLogger

    from scpd.dimse.command import Request, Response
    from scpd.negotiation.offer import AcceptedContext, Agreement, Rejection
    from scpd.telemetry.statistics import Statistics
    from scpd.transport.connection import Connection
    from scpd.wire.pdu import AssociateRQ

# Association IDs are unique over restarts too: a token of the process, and a number.
_TOKEN = secrets.token_hex(3)
_NUMBERS = itertools.count(1)
_MOST_PROBLEMS = 8
_FEW_CONTEXTS = 16


def new_id() -> str:
    """The ID of a new association, for logs."""
    return f"{_TOKEN}-{next(_NUMBERS)}"


class Live(NamedTuple):
    """An association that goes on. ``message`` is the operation that is served at this moment, or nothing.

    ``since`` is when its connection came and ``seconds`` how long ago; ``messages`` counts responses; bytes.
    """

    association_id: str
    peer: str
    calling: str
    called: str
    user: str
    since: datetime
    seconds: float
    message: str
    messages: int
    received: int
    sent: int


class Record:
    """The facts of one connection, gathered by its worker, written by it once, and counted in ``statistics``.

    Others may look at its ``tally`` and at :meth:`live` meanwhile.
    """

    def __init__(
        self,
        association_id: str,
        server: str,
        connection: Connection,
        log: FilteringBoundLogger,
        statistics: Statistics,
    ) -> None:
        self.association_id = association_id
        self.associated = False
        self.tally = Tally()
        self.connection = connection
        self._statistics = statistics
        self._log = log
        self._came = time.time()  # a date is made of it where somebody asks
        self._began = time.monotonic()
        self._serving = ""
        self._asked = 0.0
        self._facts: dict[str, Any] = {"id": association_id, "server": server, "peer": connection.peer}
        self._problems: Counter[str] = Counter()
        self._told = False
        self._contexts: Mapping[int, AcceptedContext] = {}
        self._used: set[int] = set()
        statistics.follow(self.tally, connection)

    @property
    def is_live(self) -> bool:
        """Whether there is an association now; once it is told of there is none, though its connection may linger."""
        return self.associated and not self._told

    def gone(self) -> None:
        """The connection is gone too."""
        self._statistics.pour(self.tally)

    def requested(self, request: AssociateRQ) -> None:
        """An A-ASSOCIATE-RQ came."""
        self._facts["calling"] = _title(request.calling_ae_title)
        self._facts["called"] = _title(request.called_ae_title)
        if self.connection.tls:
            self._facts["tls"] = f"{self.connection.tls.version} {self.connection.tls.cipher}"
        implementation = request.user_information.implementation_version_name
        self._facts["implementation"] = quote(implementation, AE_TITLE_LENGTH)

    def note(self, facts: Mapping[str, object]) -> None:
        """More facts of this connection; with ``warnings`` among them its line is a warning."""
        self._facts.update(facts)

    def rejected(self, rejection: Rejection, where: Callable[[str], str]) -> None:
        """The association was rejected: this is its line."""
        self._told = True
        place = where(rejection.key) if rejection.key else ""
        said = words(rejection.answer)
        deciding = {"key": rejection.key, "where": place} if rejection.key else {}
        calling, called = self._facts["calling"], self._facts["called"]
        refusal = Refusal(
            self._since(), self.connection.peer, calling, called, said, rejection.why, rejection.key, place
        )
        self._statistics.rejected(refusal, reason(rejection.answer))
        if rejection.key.startswith("user_identity"):
            self._statistics.identity_failed(self._facts.get("identity", "none"))
        self._log.warning("association rejected", **self._facts, rejection=said, why=rejection.why, **deciding)

    def established(self, agreement: Agreement) -> None:
        """The association was accepted."""
        self.associated = True
        self._contexts = agreement.contexts
        refused = [(context.abstract_syntax, context.result.name) for context in agreement.rejected]
        self._statistics.accepted(self._facts["calling"], self._facts["called"], refused)
        self._facts["rejected_contexts"] = [
            f"{context.context_id} {_keyword(context.abstract_syntax)}: {context.why}" for context in agreement.rejected
        ]

    def asked(self, request: Request) -> None:
        """A request came, and is being served from now on."""
        self._serving, self._asked = request.NAME, time.monotonic()

    def answered(self, context_id: int, response: Response, why: str) -> None:
        """A response was sent."""
        self._used.add(context_id)
        self.tally.answered(response.NAME, response.status)
        is_of = category(response.status)
        if is_of is not Category.PENDING:
            self.tally.took(response.NAME, time.monotonic() - self._asked)
            self._serving = ""
        if why and is_of is not Category.SUCCESS:
            known = why in self._problems or len(self._problems) < _MOST_PROBLEMS
            self._problems[why if known else "others"] += 1

    def ended(self, how: str, kind: str, *, clean: bool) -> None:
        """The association, or the connection that never became one, has ended: this is its line.

        ``kind`` is ``how`` in one word, to be counted by.
        """
        seconds = time.monotonic() - self._began
        if self.associated:
            self._statistics.ended(kind, seconds)
        if self.connection.handshake_failed:
            self._statistics.handshake_failed()
        if self._told:
            return
        self._told = True
        facts = {
            **self._facts,
            "ended": how,
            "seconds": round(seconds, 3),
            "bytes_received": self.connection.received,
            "bytes_sent": self.connection.sent,
        }
        if not self.associated:
            # A load balancer's probe comes every few seconds and says nothing.
            level = self._log.debug if clean and not self.connection.received else self._log.warning
            level("connection without association", **facts)
            return
        problems = dict(self._problems)
        as_it_should_be = clean and not problems and not self._facts.get("warnings")
        level = self._log.info if as_it_should_be else self._log.warning
        messages = {f"{operation} {status:04X}": count for (operation, status), count in self.tally.messages.items()}
        level("association", **facts, **self._accepted(), messages=messages, problems=problems)

    def _since(self) -> datetime:
        return datetime.fromtimestamp(self._came).astimezone()

    def live(self) -> Live:
        """How it stands, for whoever asks from another thread."""
        facts = dict(self._facts)
        return Live(
            self.association_id,
            self.connection.peer,
            facts.get("calling", ""),
            facts.get("called", ""),
            facts.get("user", ""),
            self._since(),
            time.monotonic() - self._began,
            self._serving,
            sum(dict(self.tally.messages).values()),
            self.connection.received,
            self.connection.sent,
        )

    def _accepted(self) -> dict[str, object]:
        """The accepted contexts: all of a few; of many, those that were used and how many were not."""
        contexts = self._contexts.values()
        if len(contexts) <= _FEW_CONTEXTS:
            return {"contexts": [_context(context) for context in contexts]}
        used = [_context(context) for context in contexts if context.context_id in self._used]
        return {"contexts": used, "unused_contexts": len(contexts) - len(used)}

    def failed(self, error: BaseException) -> None:
        """The worker failed: a fault of this program, with its traceback."""
        self._told = True
        self._log.error("association failed", **self._facts, exc_info=error)


def _context(context: AcceptedContext) -> str:
    roles = " scu" * context.as_scu + " no-scp" * (not context.as_scp)
    return f"{context.context_id} {uid_keyword(context.abstract_syntax)} {uid_keyword(context.transfer_syntax)}{roles}"


def _title(title: str) -> str:
    # As it is where it is a title; in quotes, escaped, where it holds anything else.
    return title if title.isprintable() and "\\" not in title else quote(title, AE_TITLE_LENGTH)


def _keyword(uid: str) -> str:
    keyword = uid_keyword(uid)
    return keyword if keyword != uid else quote(uid)
