"""What the SCU commands share: the peer's address, the titles, the time-outs."""

from __future__ import annotations

import argparse

from scpd.client.requestor import Caller
from scpd.names import parse_ae_title


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of every command that calls a peer."""
    parser.add_argument("peer", metavar="HOST:PORT", type=parse_address, help="the peer, as 10.0.0.5:104 or [::1]:104")
    parser.add_argument("--calling", metavar="AE", type=_title, default="SCPD", help="our AE title (default SCPD)")
    parser.add_argument("--called", metavar="AE", type=_title, default="ANY-SCP", help="the peer's (default ANY-SCP)")
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=_seconds, default=30.0, help="longest wait for an answer (default 30)"
    )


def caller(args: argparse.Namespace) -> Caller:
    """Who calls, by the arguments."""
    patience = args.timeout
    return Caller(args.calling, args.called, connect=patience, answer=patience, message=patience, write=patience)


def parse_address(text: str) -> tuple[str, int]:
    """``host:port`` or ``[v6]:port``."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT; write it as 10.0.0.5:104 or [::1]:104")
    return host.strip("[]"), int(port)


def _title(text: str) -> str:
    try:
        return parse_ae_title(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; write seconds, as 30")
    return seconds
