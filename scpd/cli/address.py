"""What the SCU commands share: whom they call and as whom, for how long, and how they are protected."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from scpd.cli import security
from scpd.client.requestor import Caller
from scpd.errors import ScpdError
from scpd.names import parse_ae_title

if TYPE_CHECKING:
    from scpd.config import Config, PeerConfig


class Target(NamedTuple):
    """Whom to call, host and port, and how."""

    peer: tuple[str, int]
    caller: Caller


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of every command that calls a peer."""
    parser.add_argument(
        "peer", metavar="PEER", help="HOST:PORT, as 10.0.0.5:104 or [::1]:104, or a name under peers with --config"
    )
    parser.add_argument("--config", metavar="FILE", type=Path, help="the configuration that names the peer")
    parser.add_argument("--calling", metavar="AE", type=_title, default="SCPD", help="our AE title (default SCPD)")
    parser.add_argument(
        "--called", metavar="AE", type=_title, help="the peer's (default ANY-SCP, or as the configuration has it)"
    )
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=seconds, default=30.0, help="longest wait for an answer (default 30)"
    )
    security.configure(parser)


def target(args: argparse.Namespace) -> Target:
    """Whom the arguments mean. Raises :class:`ScpdError`, and :class:`argparse.ArgumentTypeError` for wrong usage."""
    config = _loaded(args.config)
    known = _known(config, args) if config else None
    host, port = (known.address.host, known.address.port) if known else parse_address(args.peer)
    patience = args.timeout

    def place(key: str) -> str:
        whole = f"peers.{args.peer}.tls.{key}"
        return f"{config.near(None, whole)}: {whole}" if config else whole

    caller = Caller(
        args.calling,
        args.called or (known.ae_title if known else "ANY-SCP"),
        connect=patience,
        answer=patience,
        message=patience,
        write=patience,
        security=security.security(args, host, known.tls if known else None, place),
        identity=security.identity(args),
    )
    return Target((host, port), caller)


def _loaded(path: Path | None) -> Config | None:
    if path is None:
        return None
    from scpd.config import load  # noqa: PLC0415 it takes a while, and most calls name an address

    return load(path)


def _known(config: Config, args: argparse.Namespace) -> PeerConfig:
    """The peer of that name in the configuration."""
    if args.peer not in config.peers:
        known = f"it knows {', '.join(sorted(config.peers))}" if config.peers else "it has none"
        raise ScpdError(f"{args.config} has no peer {args.peer!r}; {known}")
    return config.peers[args.peer]


def parse_address(text: str) -> tuple[str, int]:
    """``host:port`` or ``[v6]:port``."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not HOST:PORT; write it as 10.0.0.5:104 or [::1]:104, or a name with --config"
        )
    return host.strip("[]"), int(port)


def _title(text: str) -> str:
    try:
        return parse_ae_title(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def seconds(text: str) -> float:
    """The value of a time-out. Raises :class:`argparse.ArgumentTypeError`."""
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; write seconds, as 30")
    return found
