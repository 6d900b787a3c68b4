"""The AE specification of a server (PS3.2 A.4.2): what it does with whoever asks for an association."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scpd.daemon.conformance import sop_classes
from scpd.daemon.conformance.activities import initiation, numbers
from scpd.daemon.conformance.document import Code, Section, Table
from scpd.daemon.conformance.specific import specific
from scpd.negotiation import extended, reject
from scpd.negotiation.offer import announced_length
from scpd.services.commitment.service import Commitment
from scpd.wire.contexts import ContextResult
from scpd.wire.pdu import APPLICATION_CONTEXT_NAME, LEAST_MAXIMUM_LENGTH
from scpd.wire.user_info import AsynchronousOperationsWindow, UserInformation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scpd.daemon.conformance.entity import Entity
    from scpd.negotiation.offer import Rejection

_UNLIMITED = AsynchronousOperationsWindow(0, 0)
# Reasons of the service provider that nothing here answers are left out.
_RESULTS = {
    ContextResult.ACCEPTANCE: "The abstract syntax and one of its transfer syntaxes are supported.",
    ContextResult.USER_REJECTION: "An access rule does not allow the SOP Class or the operation to this peer, or role "
    "selection leaves neither side a role.",
    ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED: "The abstract syntax is not in the table of contexts.",
    ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED: "None of the proposed transfer syntaxes is supported for it.",
}


def specification(entity: Entity) -> Section:
    """The whole of it."""
    return Section(
        f"{entity.name} AE Specification",
        (f"The server {entity.name} of the configuration, which listens at {entity.address} as {entity.ae_title}.",),
        (_sop_classes(entity), _policies(entity), initiation(entity), _acceptance(entity)),
    )


def _sop_classes(entity: Entity) -> Section:
    return Section(
        "SOP Classes",
        ("The AE provides Standard Conformance to these SOP Classes.", sop_classes.supported(entity)),
    )


def _policies(entity: Entity) -> Section:
    return Section("Association Policies", (), (_general(entity), _numbers(entity), _window(entity), _identity(entity)))


def _general(entity: Entity) -> Section:
    rows = (
        ("Application Context Name", Code(APPLICATION_CONTEXT_NAME)),
        ("Longest PDU received (Maximum Length announced)", f"{entity.setting('limits.pdu_length')}"),
        ("Longest PDU sent", "What the peer announces"),
        (
            "Longest PDU sent to a peer that announces nothing",
            f"{announced_length(UserInformation())} bytes",
        ),
        ("Longest A-ASSOCIATE-RQ", entity.setting("limits.association_request")),
        ("Longest command set", entity.setting("limits.command_set")),
        ("Longest data set", entity.setting("limits.data_set")),
    )
    return Section("General", (Table("Application Context and lengths", ("What", "Value"), rows),))


def _numbers(entity: Entity) -> Section:
    rows = (
        ("As acceptor, at one time", entity.setting("limits.associations")),
        ("As acceptor, at one time, from one address", entity.setting("limits.associations_per_address")),
        ("Connections without an association yet", entity.setting("limits.pending")),
        ("Connections without an association yet, from one address", entity.setting("limits.pending_per_address")),
        *numbers(entity),
    )
    return Section("Number of Associations", (Table("Number of Associations", ("What", "At most"), rows),))


def _window(entity: Entity) -> Section:
    answer = extended.window(_UNLIMITED, entity.offer.extensions)
    most = str(answer.performed if answer else 1)
    text = "A requestor that proposes an asynchronous operations window is answered with what stands here."
    table = Table("Outstanding operations", ("What", "At most"), (("Performed at one time", most),))
    return Section("Asynchronous Nature", (text, table))


def _identity(entity: Entity) -> Section:
    rows = (
        ("Implementation Class UID", Code(entity.offer.implementation_class_uid)),
        ("Implementation Version Name", Code(entity.offer.implementation_version_name)),
    )
    title = "Implementation Identifying Information"
    return Section(title, (Table("DICOM Implementation Class and Version", ("What", "Value"), rows),))


def _acceptance(entity: Entity) -> Section:
    return Section(
        "Association Acceptance Policy",
        (),
        (_sequencing(entity), _contexts(entity), *specific(entity)),
    )


def _sequencing(entity: Entity) -> Section:
    title = f"has to be {entity.ae_title}" if entity.offer.check_called_ae_title else "may be any"
    admission = (
        f"An association is accepted where nothing of the next table holds. The called AE title {title}. Many "
        "associations are served at the same time, each for itself; requests of one association are served one after "
        "the other, in the order of their arrival. An association may have no accepted presentation context."
    )
    rejections = tuple(
        (reject.words(one.answer), f"{one.answer.result} / {one.answer.source} / {one.answer.reason}", when)
        for one, when in _rejections(entity)
    )
    header = ("A-ASSOCIATE-RJ", "Result / source / reason", "When")
    return Section(
        "Activities, Description and Sequencing",
        (admission, Table("Rejected associations", header, rejections), *_endings(entity)),
    )


def _endings(entity: Entity) -> Iterator[str]:
    when = {
        "timeouts.artim": "does not send a whole A-ASSOCIATE-RQ (TLS handshake included), or does not close after the "
        "association has ended",
        "timeouts.idle": "sends no message on an association",
        "timeouts.message": "pauses within a message",
        "timeouts.write": "does not take what is sent to it",
    }
    waits = "; ".join(f"{does}: {entity.setting(key)} ({key})" for key, does in when.items())
    yield (
        "An association that waits too long is ended, with A-ABORT where there is one. These are the longest times for "
        f"which a peer {waits}."
    )
    if entity.server.limits.minimum_rate:
        rate = entity.setting("limits.minimum_rate")
        yield f"A message also has to make progress: {rate} bytes a second over timeouts.message, else A-ABORT is sent."
    yield (
        "What PS3.8 forbids is answered with A-ABORT by its state table. When the daemon is stopped it accepts nothing "
        f"new, waits {entity.setting('timeouts.shutdown')} for associations to end, and aborts those that are left."
    )


def _rejections(entity: Entity) -> Iterator[tuple[Rejection, str]]:
    """Every A-ASSOCIATE-RJ that this server can answer, and why."""
    yield reject.protocol_version(""), "Bit 0 of Protocol-version is not set."
    yield reject.application_context(""), f"Application Context Name is not {APPLICATION_CONTEXT_NAME}."
    yield reject.no_reason(""), f"Maximum Length is less than {LEAST_MAXIMUM_LENGTH} and not 0."
    if entity.offer.check_called_ae_title:
        yield reject.called_ae_title("", ""), f"Called AE title is not {entity.ae_title}."
    yield from _refusals(entity)
    full = "limits.associations or limits.associations_per_address is reached"
    often = "; the address asks more often than limits.rate_per_address" if _is_bounded(entity, "address") else ""
    yield reject.local_limit("", ""), f"{full}{often}."
    if _is_bounded(entity, "title"):
        yield reject.congestion("", ""), "The calling AE title asks more often than limits.rate_per_title."
    yield from _identity_refusals(entity)


def _is_bounded(entity: Entity, what: str) -> bool:
    return bool(getattr(entity.server.limits, f"rate_per_{what}")[0])


def _refusals(entity: Entity) -> Iterator[tuple[Rejection, str]]:
    """By access rules, for the facts that they ask about."""
    rules = [rule for entry in entity.server.access for rule in (entry.allow, entry.deny) if rule]
    if any(rule.calling for rule in rules):
        yield reject.calling_ae_title("", ""), "Access rules would have let another calling AE title in."
    if any(rule.called for rule in rules):
        yield reject.called_ae_title("", ""), "Access rules would have let another called AE title in."
    if any(rule.users or rule.roles for rule in rules):
        yield reject.identity("", ""), "Access rules would have let a verified user in, or another one."
    if rules:
        yield reject.not_welcome("", ""), "Access rules keep the peer out for its certificate or its address."


def _identity_refusals(entity: Entity) -> Iterator[tuple[Rejection, str]]:
    if entity.asks_for_users:
        yield reject.identity("", ""), "The user identity is not verified, or missing where one is required."
    if entity.asks_for_users and entity.server.user_identity.providers:
        yield reject.congestion("", ""), "What would verify the user identity is away or busy for now."


def _contexts(entity: Entity) -> Section:
    return Section(
        "Accepted Presentation Contexts",
        (
            (
                "Each proposed presentation context is judged for itself, also where several have the same abstract "
                "syntax. A transfer syntax is chosen from those of the set that the table names; the sets follow it."
            ),
            sop_classes.presentation_contexts(entity),
            *sop_classes.transfer_syntaxes(entity),
            _preference(entity),
            _results(),
            (f"Roles are negotiated by SCP/SCU role selection (PS3.7 D.3.3.4). {_invoked(entity)}"),
            sop_classes.role_selection(entity),
            (
                "Nothing is granted that was not proposed. Of several role selection items for a SOP Class the first "
                "counts."
            ),
            _extended(entity),
        ),
    )


def _preference(entity: Entity) -> str:
    order = {"requestor": "the order of the proposal", "acceptor": "the order of the set"}[entity.offer.preference]
    return f"Where several transfer syntaxes of a proposal are supported, the first in {order} is chosen."


def _results() -> Table:
    rows = tuple((result.name.lower().replace("_", " "), str(result.value), when) for result, when in _RESULTS.items())
    return Table("Results of presentation contexts (PS3.8 table 9-18)", ("Result", "Value", "When"), rows)


def _invoked(entity: Entity) -> str:
    """What it asks of whoever asked for the association."""
    invoked = ["C-STORE for a C-GET"] if entity.sends_back else []
    if Commitment in entity.services:
        invoked.append("N-EVENT-REPORT of storage commitment")
    if not invoked:
        return "This implementation never invokes an operation as the SCU of an association that it accepted."
    return f"Over an association that it accepted, this implementation itself invokes {' and '.join(invoked)}."


def _extended(entity: Entity) -> str:
    if any(sop_classes.is_extended(entity, one.abstract_syntax) for one in entity.contexts):
        return (
            "SOP Class Extended Negotiation is answered for the SOP Classes that the table names; what is agreed to "
            "stands in their SOP specific conformance. SOP Class Common Extended Negotiation is read and not answered."
        )
    return "SOP Class Extended Negotiation and SOP Class Common Extended Negotiation are read and not answered."
