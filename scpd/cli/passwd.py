"""``scpd passwd FILE USER``: add, change or remove a user in a password file."""

from __future__ import annotations

import argparse
import getpass
import sys
from pathlib import Path

from scpd.cli.main import FINE
from scpd.errors import ScpdError, SettingError
from scpd.identity.password_file import Entry, change, hashed, is_name, parse_role

_LONGEST = 1024


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="the password file; it is made where there is none")
    parser.add_argument("user", metavar="USER", type=_user, help="the user's name")
    parser.add_argument(
        "--roles", metavar="ROLE,…", type=_roles, help="the user's roles, for access rules (default: as before)"
    )
    parser.add_argument("--delete", action="store_true", help="remove the user")


def run(args: argparse.Namespace) -> int:
    hash_ = "" if args.delete else hashed(_passcode(args.user))

    def becomes(was: Entry | None) -> Entry | None:
        roles = was.roles if was and args.roles is None else args.roles or frozenset()
        return Entry(hash_, roles) if hash_ else None

    try:
        was = change(args.file, args.user, becomes)
    except SettingError as error:
        raise ScpdError(error.what) from None
    except OSError as error:
        raise ScpdError(f"{args.file} cannot be written: {error.strerror}") from None
    if args.delete and not was:
        raise ScpdError(f"{args.file} has no user {args.user}")
    print(f"{args.file}: {args.user} {'removed' if args.delete else 'changed' if was else 'added'}")
    return FINE


def _passcode(user: str) -> str:
    """Asked twice on a terminal, else one line of standard input."""
    passcode = _typed(user) if sys.stdin is not None and sys.stdin.isatty() else _read()
    if not passcode:
        raise ScpdError("a passcode needs at least one character; nothing was changed")
    if len(passcode) > _LONGEST:
        raise ScpdError(f"a passcode has at most {_LONGEST} characters; nothing was changed")
    return passcode


def _typed(user: str) -> str:
    try:
        passcode = getpass.getpass(f"Passcode of {user}: ")
        if passcode != getpass.getpass("Again: "):
            raise ScpdError("the two are not the same; nothing was changed")
    except EOFError:
        raise ScpdError("nothing was typed; nothing was changed") from None
    return passcode


def _read() -> str:
    if sys.stdin is None:
        return ""
    try:
        passcode = sys.stdin.readline(_LONGEST + 2).rstrip("\r\n")
        passcode.encode()
    except UnicodeError:
        raise ScpdError("the passcode is not UTF-8 text; nothing was changed") from None
    return passcode


def _user(text: str) -> str:
    if not is_name(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no user's name; write 1 to 256 characters without colons and control characters"
        )
    return text


def _roles(text: str) -> frozenset[str]:
    if not text:
        return frozenset()
    try:
        return frozenset(parse_role(role) for role in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
