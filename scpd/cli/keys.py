"""What the commands of the query models share: which model and level, which keys, and an association for them."""

from __future__ import annotations

import argparse
import sys
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from scpd.cli import address, security
from scpd.client import querying
from scpd.client.identifiers import identifier, parse_key
from scpd.client.requestor import Negotiation, associate
from scpd.errors import ScpdError
from scpd.index.attributes import UNIQUE_KEYS, Level

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pydicom.dataset import Dataset

    from scpd.client.querying import Extensions, Model, Operation, Service
    from scpd.client.requestor import Association, Proposal
    from scpd.wire.user_info import RoleSelection

_T = TypeVar("_T")


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of each of them: whom it calls, and what it asks for."""
    address.configure(parser)
    asked = parser.add_argument_group("what is asked for")
    asked.add_argument(
        "--model", choices=("patient", "study"), help="Patient Root or Study Root (default study, unless by PATIENT)"
    )
    asked.add_argument(
        "--level", choices=tuple(Level.__members__), default="STUDY", type=str.upper, help="the level (default STUDY)"
    )
    asked.add_argument(
        "-k",
        "--query-key",
        metavar="KEYWORD[=VALUE]",
        dest="keys",
        type=argument(parse_key),
        action="append",
        default=[],
        help="a key of the identifier, as PatientName=DOE* or StudyDate=20250101-20251231 or 0010,0020=4711; without a "
        "value it is only told; SEQUENCE.KEYWORD=VALUE is one inside a sequence; may stand several times",
    )
    asked.add_argument("--relational", action="store_true", help="ask for relational queries or retrieval")


def argument(parse: Callable[[str], _T]) -> Callable[[str], _T]:
    """``parse`` for the value of an option: what it says of a wrong one is what the user reads."""

    def parsed(text: str) -> _T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed


def wanted(args: argparse.Namespace, *, unique: bool = False) -> Dataset:
    """The identifier by the arguments; with ``unique`` the unique key of the level is in it in any case."""
    keys = list(args.keys)
    level = Level[args.level]
    if unique and not any(key.path == (UNIQUE_KEYS[level],) for key in keys):
        keys.append(parse_key(f"{UNIQUE_KEYS[level]:08X}"))
    return identifier(args.level, keys)


def sop_class(args: argparse.Namespace, service: Service) -> str:
    """The SOP class of a service in the model of the arguments."""
    usual = "patient" if args.level == "PATIENT" else "study"
    return querying.sop_class(cast("Model", args.model or usual), service)


@contextmanager
def association(
    args: argparse.Namespace,
    abstract_syntax: str,
    extensions: Extensions,
    proposals: Sequence[Proposal] = (),
    roles: tuple[RoleSelection, ...] = (),
) -> Iterator[Association]:
    """An association with a context for ``abstract_syntax``; what was not agreed to is said on standard error."""
    peer, caller = address.target(args)
    beside = Negotiation(roles=roles, extended=extensions.item(abstract_syntax))
    every = [querying.proposal(abstract_syntax), *proposals]
    with associate(peer, every, replace(caller, negotiation=beside)) as established:
        for name in extensions.refused(established, abstract_syntax):
            print(f"scpd: the peer did not agree to --{name.replace('_', '-')}", file=sys.stderr)
        yield established
    if confirmation := security.confirmation(caller.identity):
        print(confirmation, file=sys.stderr)


def ask(begin: Callable[..., Operation], *arguments: Any) -> Operation:
    """Begin an operation. Raises :class:`ScpdError` where it was not accepted, or its keys cannot be encoded."""
    try:
        return begin(*arguments)
    except (LookupError, ValueError) as error:
        raise ScpdError(str(error)) from None
