"""What would become of an association request, and which line of the configuration decides it.

Asks what a worker and its guard ask, so that the words are those of a real rejection's log line; nothing is opened.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from scpd.config.uids import sop_class_uids
from scpd.daemon.build import offer
from scpd.daemon.doors import access
from scpd.daemon.served import faults, service
from scpd.identity.access import DEFAULT, EVERYTHING, Facts, Refusal, Title, parse_address
from scpd.negotiation import agree, reject
from scpd.negotiation.offer import AcceptedContext, RejectedContext, Rejection
from scpd.server.guard import rejection
from scpd.services.query.models import BY_GET
from scpd.services.storage import Storage
from scpd.sop_class import uid_keyword
from scpd.wire.contexts import ContextResult, PresentationContextRQ
from scpd.wire.pdu import AssociateRQ, encode_title
from scpd.wire.user_info import UserInformation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scpd.config import Config, ServerConfig
    from scpd.identity.access import Rule
    from scpd.identity.claim import User
    from scpd.negotiation.offer import Agreement
    from scpd.wire.user_info import RoleSelection

    Where = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Question:
    """A request that nobody makes. ``contexts`` are abstract syntaxes with their transfer syntaxes, all as UIDs.

    ``certificate`` are the names in a certificate that was verified, and ``user`` is who was.
    """

    address: str
    calling: str
    called: str
    contexts: tuple[tuple[str, tuple[str, ...]], ...]
    roles: tuple[RoleSelection, ...] = ()
    certificate: tuple[str, ...] = ()
    user: User | None = None

    def facts(self) -> Facts:
        """What the guard would know at the end."""
        calling, called = Title(self.calling), Title(self.called)
        return Facts(parse_address(self.address), self.certificate, calling, called, self.user)

    def request(self) -> AssociateRQ:
        """The A-ASSOCIATE-RQ."""
        return AssociateRQ(
            called_field=encode_title(self.called),
            calling_field=encode_title(self.calling),
            user_information=UserInformation(maximum_length=16384, roles=self.roles),
            presentation_contexts=tuple(
                PresentationContextRQ(2 * number + 1, *context) for number, context in enumerate(self.contexts)
            ),
        )


def explain(config: Config, server: ServerConfig, question: Question) -> Iterator[str]:
    """The answer, line by line: whether it is let in, and by which rule; then each context."""

    def where(key: str) -> str:
        return f"{key} ({config.near(server.name, key)})"

    yield f"server {server.name} at {server.bind}, AE title {server.ae_title}"
    rule = _rule(server, question)
    if isinstance(rule, Rejection):
        yield from _rejected(rule, where)
        return
    yield f"let in by {where(rule.key)}" if rule.key else "no access rule keeps it out"
    agreement = _agreement(server, question, rule)
    if isinstance(agreement, Rejection):
        yield from _rejected(agreement, where)
        return
    yield "the association is accepted"
    yield from _not_served(server, question, where)
    contexts: list[AcceptedContext | RejectedContext] = [*agreement.contexts.values(), *agreement.rejected]
    for context in sorted(contexts, key=lambda one: one.context_id):
        entry = _entry(server, context.abstract_syntax)
        if isinstance(context, AcceptedContext):
            yield _accepted(context, where(entry)) + _in_vain(agreement, context)
        else:
            forbidden = context.result == ContextResult.USER_REJECTION and rule.permission != EVERYTHING
            decided = rule.key if forbidden else entry
            see = f"; see {where(decided)}" if decided else ""
            yield f"context {context.context_id} {uid_keyword(context.abstract_syntax)}: rejected, {context.why}{see}"


def _rejected(rejection: Rejection, where: Where) -> Iterator[str]:
    yield f"rejected {reject.words(rejection.answer)}"
    yield f"why: {rejection.why}" + (f"; decided by {where(rejection.key)}" if rejection.key else "")


def _rule(server: ServerConfig, question: Question) -> Rule | Rejection:
    """The rule that lets it in, or why it is not."""
    identity = server.user_identity
    if identity.policy == "require" and question.user is None:
        return reject.identity("no user identity was sent, and one is required", "user_identity.policy")
    rules = access(server)
    judged = rules.judge(question.facts()) if rules else [DEFAULT]
    return rejection(judged, question.facts()) if isinstance(judged, Refusal) else judged[0]


def _agreement(server: ServerConfig, question: Question, rule: Rule) -> Agreement | Rejection:
    offered, request = offer(server), question.request()
    if rule.permission != EVERYTHING:
        offered = replace(offered, forbids=rule.permission.refuses)
    return agree.refuse(request, offered) or agree.accept(request, offered)


def _not_served(server: ServerConfig, question: Question, where: Where) -> Iterator[str]:
    """Why scpd does not even start with what was asked about."""
    names = {uid_keyword(abstract_syntax) for abstract_syntax, _ in question.contexts}
    for key, what in faults(server):
        if what.partition(" ")[0] in names:
            yield f"but scpd does not start: {what}; see {where(key)}"


def _entry(server: ServerConfig, abstract_syntax: str) -> str:
    """The entry of ``contexts`` that a SOP class stands in: the last one counts."""
    numbers = [n for n, entry in enumerate(server.contexts) if abstract_syntax in sop_class_uids(entry.sop_classes)]
    return f"contexts[{numbers[-1]}]" if numbers else ""


def _accepted(context: AcceptedContext, where: str) -> str:
    roles = {(True, False): "SCP", (False, True): "SCU", (True, True): "SCU and SCP"}[context.as_scu, context.as_scp]
    syntax = uid_keyword(context.transfer_syntax)
    keyword = uid_keyword(context.abstract_syntax)
    return f"context {context.context_id} {keyword}: accepted in {syntax}, the peer as {roles}; see {where}"


def _in_vain(agreement: Agreement, context: AcceptedContext) -> str:
    """What keeps a C-GET of the same request from sending anything in a context."""
    retrieves = any(one.abstract_syntax in BY_GET for one in agreement.contexts.values())
    if not retrieves or context.as_scu or service(context.abstract_syntax) is not Storage:
        return ""
    return "; a C-GET can send nothing in it, since the peer is not its SCP: that takes the role scp for this class"
