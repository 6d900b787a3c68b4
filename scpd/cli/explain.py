"""``scpd explain CONFIG``: what would become of an association request, and which line decides it."""

from __future__ import annotations

import argparse
import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING

from scpd.cli.main import FAILED, FINE
from scpd.config import load
from scpd.config.uids import UnknownName, parse_sop_class, parse_transfer_syntax, sop_class_uids, transfer_syntax_uids
from scpd.config.values import parse_certificate_glob
from scpd.daemon.explain import Question, explain
from scpd.identity.claim import User
from scpd.names import parse_ae_title
from scpd.sop_class import UNCOMPRESSED
from scpd.wire.user_info import RoleSelection

if TYPE_CHECKING:
    from collections.abc import Callable

    from scpd.config import Config, ServerConfig

_MOST_CONTEXTS = 128
Context = tuple[str, tuple[str, ...]]


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", type=Path, help="the configuration file")
    parser.add_argument(
        "--calling", metavar="AE", type=_with(parse_ae_title), required=True, help="the peer's AE title"
    )
    parser.add_argument("--address", metavar="IP", type=_with(_address), required=True, help="the peer's IP address")
    parser.add_argument("--called", metavar="AE", type=_with(parse_ae_title), help="whom it calls (default the server)")
    parser.add_argument("--server", metavar="NAME", help="the server it comes to (default the first)")
    parser.add_argument(
        "--context",
        metavar="CLASS[:SYNTAX,…]",
        type=_with(_context),
        action="append",
        help="a SOP class it proposes, by keyword or UID, and its transfer syntaxes (default Verification; the "
        "uncompressed ones); may stand several times",
    )
    parser.add_argument(
        "--role",
        metavar="CLASS:ROLES",
        type=_with(_role),
        action="append",
        default=[],
        help="the roles it proposes for a SOP class: scu, scp or scu,scp",
    )
    parser.add_argument(
        "--certificate",
        metavar="NAME",
        type=_with(parse_certificate_glob),
        action="append",
        default=[],
        help="a name in its verified certificate, as CN=ct1.hospital.example; may stand several times",
    )
    parser.add_argument("--user", metavar="NAME", help="the user that was verified")
    parser.add_argument("--user-roles", metavar="ROLE,…", default="", help="the roles of that user")


def run(args: argparse.Namespace) -> int:
    config = load(args.config)
    server = _server(config, args.server)
    contexts = tuple(context for several in args.context or [_context("Verification")] for context in several)
    if len(contexts) > _MOST_CONTEXTS:
        raise argparse.ArgumentTypeError(
            f"an association proposes at most {_MOST_CONTEXTS} contexts, not {len(contexts)}"
        )
    question = Question(
        args.address,
        args.calling,
        args.called or server.ae_title,
        contexts,
        tuple(role for several in args.role for role in several),
        tuple(args.certificate),
        User(args.user, frozenset(filter(None, args.user_roles.split(",")))) if args.user else None,
    )
    lines = list(explain(config, server, question))
    print(*lines, sep="\n")
    return FINE if "the association is accepted" in lines else FAILED


def _server(config: Config, name: str | None) -> ServerConfig:
    for server in config.servers:
        if name in (None, server.name):
            return server
    known = ", ".join(server.name for server in config.servers)
    raise argparse.ArgumentTypeError(f"no server is called {name!r}; there is {known}")


def _with(parse: Callable[[str], object]) -> Callable[[str], object]:
    def parsed(text: str) -> object:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(
                error.sentence() if isinstance(error, UnknownName) else str(error)
            ) from None

    return parsed


def _address(text: str) -> str:
    return str(ipaddress.ip_address(text))


def _context(text: str) -> list[Context]:
    name, _, syntaxes = text.partition(":")
    uids = transfer_syntax_uids(map(parse_transfer_syntax, syntaxes.split(","))) if syntaxes else ()
    return [(uid, uids or tuple(map(str, UNCOMPRESSED))) for uid in sop_class_uids((parse_sop_class(name),))]


def _role(text: str) -> list[RoleSelection]:
    name, _, roles = text.partition(":")
    words = roles.split(",")
    if not roles or not set(words) <= {"scu", "scp"}:
        raise ValueError(f"{text!r} names no roles; write CLASS:scu, CLASS:scp or CLASS:scu,scp")
    return [RoleSelection(uid, "scu" in words, "scp" in words) for uid in sop_class_uids((parse_sop_class(name),))]
