"""What the SCU commands share to protect a connection and to say who calls: TLS and user identity."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scpd.client.identity import Stated, Ticketed
from scpd.client.requestor import Security
from scpd.errors import ScpdError, SettingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from scpd.client.identity import Identity
    from scpd.config import PeerTLSConfig

_PROFILES = ("bcp195", "bcp195-modified", "bcp195-nd", "tls13")
_LONGEST = 0xFFFF  # a field of the user identity (PS3.7 table D.3-14)
_LONGEST_ITEM = 0xFFFF - 256  # since what else there is to negotiate goes into the same item
_USERNAME, _PASSCODE, _SAML, _JWT = 1, 2, 4, 5


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments for TLS and user identity."""
    tls = parser.add_argument_group("TLS")
    tls.add_argument("--tls", action="store_true", help="speak TLS; the other options of this group include it")
    tls.add_argument("--ca", metavar="FILE", type=Path, help="the CAs to trust, in PEM (default: this machine's)")
    tls.add_argument("--certificate", metavar="FILE", type=Path, help="the certificate to show, in PEM")
    tls.add_argument("--key", metavar="FILE", type=Path, help="its private key (default: in the certificate's file)")
    tls.add_argument("--key-password-file", metavar="FILE", help="the file of what the key is encrypted with")
    tls.add_argument("--crl", metavar="FILE", type=Path, help="the CAs' revocation lists, in PEM")
    tls.add_argument("--tls-profile", choices=_PROFILES, help="versions and cipher suites (default bcp195)")
    tls.add_argument("--tls-name", metavar="NAME", help="the name that the peer's certificate must carry")
    tls.add_argument("--insecure", action="store_true", help="take any certificate for the peer's: for tests by hand")
    identity = parser.add_argument_group("user identity", "one of these forms")
    identity.add_argument("--user", metavar="NAME", help="a user name, alone or with --password-file")
    identity.add_argument(
        "--password-file", metavar="FILE", help="the file of the user's passcode, - for standard input"
    )
    identity.add_argument("--kerberos", metavar="SERVICE", help="a ticket for a service, as dicom/pacs.example")
    identity.add_argument("--saml", metavar="FILE", help="the file of a SAML assertion")
    identity.add_argument("--jwt", metavar="FILE", help="the file of a JSON Web Token")


def security(
    args: argparse.Namespace, host: str, peer: PeerTLSConfig | None, place: Callable[[str], str]
) -> Security | None:
    """TLS by the arguments, over what the configuration says of the peer; None is none.

    ``place`` tells where a key of that stands. Raises :class:`ScpdError` that names the argument or the place at fault.
    """
    if [args.password_file, args.key_password_file].count("-") > 1:
        raise argparse.ArgumentTypeError("--password-file and --key-password-file cannot both be standard input")
    if args.insecure and (args.ca or args.crl):
        raise argparse.ArgumentTypeError("--insecure trusts everybody; leave --ca and --crl out, or --insecure")
    password = read_secret(args.key_password_file, "--key-password-file") if args.key_password_file else None
    asked = {"ca": args.ca, "crl": args.crl, "certificate": args.certificate, "key": args.key, "key_password": password}
    beside = (args.tls, args.tls_profile, args.tls_name, args.insecure)
    if peer is None and not any(asked.values()) and not any(beside):
        return None
    from scpd.transport import profiles  # noqa: PLC0415 not for a call without TLS

    # A certificate comes with its key: neither is joined with one of the configuration.
    own = ("certificate", "key", "key_password")
    kept = [key for key in asked if peer and not asked[key] and not (key in own and any(asked[one] for one in own))]
    files = profiles.TLSFiles(**{**asked, **{key: getattr(peer, key) for key in kept}})
    verify = not args.insecure and (peer is None or peer.verify)
    profile = args.tls_profile or (peer.profile if peer else "bcp195")
    try:
        context = profiles.client_context(files, verify=verify, profile=profile)
    except SettingError as error:
        option = "--key-password-file" if error.key == "key_password" else f"--{error.key}"
        raise ScpdError(f"{place(error.key) if error.key in kept else option}: {error.what}") from error
    return Security(context, args.tls_name or (peer and peer.name) or host)


def identity(args: argparse.Namespace) -> Identity | None:
    """Who calls, by the arguments; None is nobody in particular. Raises as :func:`scpd.cli.address.target`."""
    given = {name: getattr(args, name) for name in ("user", "kerberos", "saml", "jwt", "password_file")}
    for name, value in given.items():
        if value == "":
            raise argparse.ArgumentTypeError(f"--{name.replace('_', '-')} has no value; write one, or leave it out")
    forms = [name for name in ("user", "kerberos", "saml", "jwt") if given[name]]
    if len(forms) > 1:
        raise argparse.ArgumentTypeError(f"--{forms[0]} and --{forms[1]} are two identities; an association takes one")
    if args.password_file and not args.user:
        raise argparse.ArgumentTypeError("--password-file is the passcode of a user; write --user too")
    return _kerberos(args.kerberos) if args.kerberos else _stated(args)


def _stated(args: argparse.Namespace) -> Stated | None:
    fields: tuple[bytes, ...]
    if args.saml:
        form, fields = _SAML, (read_secret(args.saml, "--saml").encode(),)
    elif args.jwt:
        form, fields = _JWT, (read_secret(args.jwt, "--jwt").encode(),)
    elif args.password_file:
        form, fields = _PASSCODE, (_bounded(args.user), read_secret(args.password_file, "--password-file").encode())
    elif args.user:
        form, fields = _USERNAME, (_bounded(args.user),)
    else:
        return None
    if sum(map(len, fields)) > _LONGEST_ITEM:
        raise ScpdError(f"the user identity is too long: a request has room for {_LONGEST_ITEM} bytes of it")
    return Stated(form, *fields)


def confirmation(who: Identity | None) -> str:
    """What the peer said to our identity, in words; nothing where there was none."""
    confirmed: Any = getattr(who, "confirmed", None)
    if confirmed is None:
        return ""
    return "user identity confirmed" if confirmed else "user identity not confirmed: the peer may have ignored it"


def _kerberos(service: str) -> Identity:
    try:
        return Ticketed(service)
    except ImportError as error:
        raise ScpdError(f"--kerberos: {error.name} is not installed; pip install 'scpd[kerberos]'") from error


def _bounded(user: str) -> bytes:
    raw = user.encode(errors="surrogateescape")
    if len(raw) > _LONGEST:
        raise ScpdError(f"--user: at most {_LONGEST} bytes")
    return raw


def read_secret(name: str, argument: str) -> str:
    """The text of a file, or of standard input for ``-``, without the newline at its end. Raises :class:`ScpdError`."""
    try:
        if name == "-":
            raw = sys.stdin.buffer.read(_LONGEST + 2)
        else:
            with Path(name).open("rb") as file:
                raw = file.read(_LONGEST + 2)
        text = raw.decode().removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise ScpdError(f"{argument}: {name} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ScpdError(f"{argument}: {name} is not UTF-8 text") from None
    if not text or len(text.encode()) > _LONGEST:
        raise ScpdError(f"{argument}: {name} holds nothing, or more than the {_LONGEST} bytes that there is room for")
    return text
