"""The ``scpd`` command: which sub-command was asked for, and what its end means to the shell.

Each sub-command is one module with ``configure(parser)`` and ``run(args) -> int``, imported only when it is the
one asked for, so that none waits for what another needs.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

from scpd.errors import ConfigurationError, ScpdError
from scpd.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

FINE, FAILED, BAD_CONFIGURATION, INTERRUPTED = 0, 1, 78, 130  # 2, wrong usage, is argparse's

# The name of each sub-command, which is its module's as well, and its line in the help.
COMMANDS = {
    "run": "serve until SIGTERM",
    "check": "everything run would do short of listening: print every fault of a configuration",
    "show": "print a configuration with every default filled in",
    "schema": "print the JSON Schema of the configuration, for editors",
    "explain": "say what would become of an association request, and which line decides it",
    "conformance": "print the DICOM Conformance Statement of a configuration",
    "index": "list what is held, make its index anew from the files, or compare the two",
    "expiring": "show what retention would delete now, and what it keeps back",
    "queue": "show what waits to be handed over, and retry or drop what was set aside",
    "passwd": "add, change or remove a user in a password file",
    "echo": "ask a DICOM peer for a C-ECHO",
    "send": "send files and folders to a DICOM peer",
    "find": "ask a DICOM peer what it holds (C-FIND)",
    "move": "have a DICOM peer send what it holds to another (C-MOVE)",
    "get": "fetch what a DICOM peer holds into files (C-GET)",
    "health": "say whether the running daemon is ready, for health checks",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit status. Wrong usage raises :class:`SystemExit` with 2, as argparse has it."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    module = _module(arguments)
    parser = _parser(module)
    args = parser.parse_args(arguments)
    try:
        status = int(module.run(args))
        if sys.stdout is not None:  # started without one
            sys.stdout.flush()
    except ConfigurationError as error:
        _complain("\n".join(error.faults))
        return BAD_CONFIGURATION
    except argparse.ArgumentTypeError as error:  # arguments that do not go together, which only a command can tell
        parser.error(str(error))
    except ScpdError as error:
        _complain(f"scpd: {error}")
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return _nobody_reads()
    return status


def _complain(text: str) -> None:
    if "JOURNAL_STREAM" in os.environ and sys.stderr is not None:
        from scpd.telemetry.logs import as_errors  # noqa: PLC0415 not for a command by hand

        text = as_errors(text, sys.stderr)
    print(text, file=sys.stderr)


def _module(arguments: Sequence[str]) -> Any:
    """The module of the command asked for; none for ``--help``, ``--version`` and what is no command."""
    name = arguments[0] if arguments else ""
    return importlib.import_module(f"scpd.cli.{name}") if name in COMMANDS else None


def _parser(module: Any) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scpd", description="A DICOM server set up by one YAML file.")
    parser.add_argument("--version", action="version", version=f"scpd {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, line in COMMANDS.items():
        command = commands.add_parser(name, help=line, description=f"{line[0].upper()}{line[1:]}.")
        if module and module.__name__.endswith(f".{name}"):
            module.configure(command)
    return parser


def _nobody_reads() -> int:
    """Leave quietly: the interpreter would complain once more when it flushes standard output at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FAILED
