"""``scpd echo HOST:PORT``: whether a peer is there, and lets us in."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from scpd.cli import address, security
from scpd.client import operations
from scpd.client.requestor import Proposal, associate
from scpd.dimse.status import SUCCESS, meaning
from scpd.errors import ScpdError
from scpd.sop_class import UNCOMPRESSED, VERIFICATION

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    address.configure(parser)


def run(args: argparse.Namespace) -> int:
    proposal = Proposal(VERIFICATION[0], tuple(map(str, UNCOMPRESSED[:2])))
    peer, caller = address.target(args)
    began = time.monotonic()
    with associate(peer, [proposal], caller) as association:
        try:
            response = operations.echo(association)
        except LookupError as error:
            raise ScpdError(str(error)) from None
        tls = association.upper.connection.tls
    milliseconds = (time.monotonic() - began) * 1000
    beside = [f"{tls.version} {tls.cipher}"] if tls else []
    beside += filter(None, [security.confirmation(caller.identity)])
    said = f"{meaning(response.status, 'C-ECHO')} ({response.status:04X}) in {milliseconds:.1f} ms"
    print("; ".join((said, *beside)))
    return int(response.status != SUCCESS)
