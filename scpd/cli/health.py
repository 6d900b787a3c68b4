"""``scpd health [CONFIG]``: whether the running daemon is ready, asked as a peer would ask.

Each server of the configuration gets a C-ECHO at its own address, and the admin endpoint, where there is one, its
question. Nothing is read of the daemon's own memory or files: what answers here answers the modalities too.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import threading
import time
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from scpd.cli import address, configuration
from scpd.cli.main import FAILED, FINE
from scpd.client import operations, requestor
from scpd.client.requestor import Caller, Proposal, Security
from scpd.config import load
from scpd.config.values import SystemdSocket
from scpd.daemon import doors
from scpd.dimse.status import SUCCESS, meaning
from scpd.errors import ConnectionLost, Expired, Rejected, ScpdError
from scpd.identity.access import Facts, parse_address
from scpd.names import quote
from scpd.negotiation.offer import RejectResult
from scpd.sop_class import UNCOMPRESSED, VERIFICATION

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

    from scpd.config import Config, Endpoint, ServerConfig, TLSConfig

CALLING = "SCPD_HEALTH"
_PROPOSAL = Proposal(VERIFICATION[0], tuple(map(str, UNCOMPRESSED[:2])))
_OK, _NOT_READY = http.HTTPStatus.OK, ": not ready"
_LONGEST_ANSWER = 16 * 1024
_LOOPBACK = {4: "127.0.0.1", 6: "::1"}


class Verdict(NamedTuple):
    """Whether what was asked is ready, and why; None is what could not be asked."""

    ready: bool | None
    why: str


def configure(parser: argparse.ArgumentParser) -> None:
    configuration.configure(parser)
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=address.seconds,
        default=5.0,
        help="longest wait for all answers together (default 5)",
    )


def run(args: argparse.Namespace) -> int:
    config = load(configuration.path(args))
    verdicts = _ask_all(_questions(config, args.timeout), args.timeout)
    words = {True: "ready", False: "not ready", None: "not asked"}
    for name, verdict in verdicts.items():
        print(f"{name}: {words[verdict.ready]}: {verdict.why}")
    asked = [verdict.ready for verdict in verdicts.values() if verdict.ready is not None]
    return FINE if asked and all(asked) else FAILED


def _questions(config: Config, patience: float) -> dict[str, Callable[[], Verdict]]:
    """What to ask, by the name that stands before the answer."""
    questions: dict[str, Callable[[], Verdict]] = {
        f"{server.name} at {server.bind}": partial(_server, server, patience) for server in config.servers
    }
    if config.admin:
        questions[f"admin at {config.admin.bind}"] = partial(_admin, config.admin.bind, patience)
    return questions


def _ask_all(questions: Mapping[str, Callable[[], Verdict]], patience: float) -> dict[str, Verdict]:
    """Every question at once: together they take no longer than ``patience``, however many servers are silent."""
    verdicts: dict[str, Verdict] = {}

    def ask(name: str) -> None:
        verdicts[name] = questions[name]()

    threads = [threading.Thread(target=ask, args=(name,), daemon=True) for name in questions]
    for thread in threads:
        thread.start()
    end = time.monotonic() + patience
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return {name: verdicts.get(name) or _silent(patience) for name in questions}


def _silent(patience: float) -> Verdict:
    return Verdict(ready=False, why=f"no answer within {patience:g} s")


def _server(server: ServerConfig, patience: float) -> Verdict:
    if not server.bind.port:
        return _unknown(server.bind)
    try:
        host = _reached_at(server.bind)
        if rule := _turns_away(server, host):
            return _closes_at_once(host, server.bind.port, rule, patience)
        return _echo(server, host, patience)
    except (Expired, TimeoutError):
        return _silent(patience)
    except (ScpdError, OSError) as error:
        return Verdict(ready=False, why=str(error))


def _unknown(bind: Endpoint) -> Verdict:
    who = (
        "systemd's unit says" if isinstance(bind, SystemdSocket) else "the system chose the port, and only the log says"
    )
    return Verdict(ready=None, why=f"{who} where it listens")


def _reached_at(bind: Endpoint) -> str:
    """The IP address to call: that of the server, and loopback where it listens on every interface."""
    host = socket.getaddrinfo(bind.host, bind.port, type=socket.SOCK_STREAM)[0][4][0]
    found = ipaddress.ip_address(str(host).partition("%")[0])
    return _LOOPBACK[found.version] if found.is_unspecified else str(host)


def _turns_away(server: ServerConfig, host: str) -> str:
    """The access rule that closes a connection from ourselves before a word is spoken, or nothing."""
    access = doors.access(server)
    refusal = access.refusal(Facts(parse_address(host))) if access else None
    return refusal.rule.key if refusal else ""


def _closes_at_once(host: str, port: int, rule: str, patience: float) -> Verdict:
    with socket.create_connection((host, port), patience) as sock:
        try:
            closed = not sock.recv(1)
        except ConnectionError:
            closed = True
    if closed:
        return _lives(f"{rule} turns this machine away")
    return Verdict(ready=False, why=f"something else answers there: {rule} would turn this machine away")


def _echo(server: ServerConfig, host: str, patience: float) -> Verdict:
    """A C-ECHO. Whatever only a living server says counts, but for having no room for one association more."""
    began = time.monotonic()
    caller = _caller(server, patience)
    connection = requestor.connect((host, server.bind.port), caller)
    try:
        with requestor.request(connection, {1: _PROPOSAL}, caller) as association:
            status = operations.echo(association).status
    except Rejected as rejected:
        if rejected.result != RejectResult.PERMANENT:
            raise
        return _lives(f"the association was rejected {rejected.words}")
    except LookupError:
        return _lives("it lets us in, and not for Verification")
    except ConnectionLost as lost:
        if server.tls is None or server.tls.client != "required":
            raise
        # In TLS 1.3 a certificate is refused after the server's own part of the handshake, which shows that it serves.
        return _lives(f"it did its part of the TLS handshake ({lost})")
    milliseconds = (time.monotonic() - began) * 1000
    return Verdict(status == SUCCESS, f"{meaning(status, 'C-ECHO')} ({status:04X}) in {milliseconds:.1f} ms")


def _lives(why: str) -> Verdict:
    return Verdict(ready=True, why=f"it lives: {why}")


def _caller(server: ServerConfig, patience: float) -> Caller:
    return Caller(
        calling=CALLING,
        called=server.ae_title,
        connect=patience,
        answer=patience,
        message=patience,
        write=patience,
        security=_security(server.tls) if server.tls else None,
    )


def _security(tls: TLSConfig) -> Security:
    """TLS towards ourselves.

    The server's certificate is not verified: it names the host that peers call, which this address is not, and whoever
    could answer in its place on this machine could as well read its key. Where a certificate is asked for, there is no
    other at hand than the server's own; it is good enough where the CA made it for clients as well.
    """
    from scpd.transport.profiles import TLSFiles, client_context  # noqa: PLC0415 not for a server without TLS

    shown = TLSFiles(tls.certificate, tls.key, tls.key_password) if tls.client == "required" else TLSFiles()
    return Security(client_context(shown, verify=False, profile=tls.profile))


def _admin(bind: Endpoint, patience: float) -> Verdict:
    """GET /ready; the parts that it says are not ready are the reason."""
    if not bind.port:
        return _unknown(bind)
    try:
        connection = http.client.HTTPConnection(_reached_at(bind), bind.port, timeout=patience)
        with closing(connection):
            connection.request("GET", "/ready")
            response = connection.getresponse()
            said = response.read(_LONGEST_ANSWER).decode("utf-8", "replace")
    except TimeoutError:
        return _silent(patience)
    except (OSError, http.client.HTTPException) as error:
        return Verdict(ready=False, why=f"GET /ready: {_printable(str(error))}")
    reasons = [_printable(line) for line in said.splitlines() if response.status != _OK and _NOT_READY in line]
    return Verdict(response.status == _OK, "; ".join((f"GET /ready: {response.status}", *reasons)))


def _printable(line: str) -> str:
    return line if line.isprintable() else quote(line, _LONGEST_ANSWER)
