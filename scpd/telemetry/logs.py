"""structlog, set up once: JSON or a console, every value escaped, so that no peer can forge a line.

In a program that uses scpd as a library, and has not set up structlog itself, the same lines go to the standard
library's logger ``scpd``.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO

import structlog

from scpd.telemetry.sink import Sink

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import EventDict, FilteringBoundLogger

    Processor = Callable[[Any, str, EventDict], Any]

_LONGEST_VALUE = 500
# As syslog counts them (RFC 5424 6.2.1), by structlog's methods.
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
_LIBRARY = logging.getLogger("scpd")
_LIBRARY.addHandler(logging.NullHandler())


def configure(level: str, form: str, stream: TextIO) -> Sink:
    """Send logs of ``level`` and above to ``stream``; ``form`` is auto, console or json. Returns what to flush."""
    console = form == "console" or (form == "auto" and stream.isatty())
    in_journal = _is_journal(stream)
    lost = _lost_on_console if console else _lost_in_json
    sink = Sink(stream, (lambda count: _with_priority(None, "warning", lost(count))) if in_journal else lost)
    processors: list[Processor] = [
        structlog.processors.add_log_level,
        _timestamp,
        structlog.processors.format_exc_info,
    ]
    if console:
        processors += [_printable, structlog.dev.ConsoleRenderer(colors=stream.isatty(), pad_event_to=0)]
    else:
        processors.append(structlog.processors.JSONRenderer(ensure_ascii=True))
    if in_journal:
        processors.append(_with_priority)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=lambda *_: sink,
        cache_logger_on_first_use=True,
    )
    return sink


def as_errors(text: str, stream: TextIO) -> str:
    """What a command has to say that is no line of the log, with its priority where the journal takes it."""
    return _with_priority(None, "error", text) if _is_journal(stream) else text


def _is_journal(stream: TextIO) -> bool:
    """Whether lines go to systemd's journal, as $JOURNAL_STREAM says (systemd.exec(5))."""
    try:
        file = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{file.st_dev}:{file.st_ino}"


def _with_priority(_: Any, level: str, text: Any) -> str:
    """Each line with its priority (sd-daemon(3)), which the journal takes off again."""
    return "\n".join(f"<{_PRIORITIES[level]}>{line}" for line in text.split("\n"))


def logger(name: str) -> FilteringBoundLogger:
    """The logger of one part of scpd, named in each of its lines."""
    bound: FilteringBoundLogger = structlog.get_logger(part=name) if structlog.is_configured() else _of_a_library(name)
    return bound


def debug_logger() -> None:
    """Have a program's standard error show everything that scpd logs: for finding out what goes on."""
    for handler in list(_LIBRARY.handlers):
        _LIBRARY.removeHandler(handler)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname).1s: %(name)s: %(message)s"))
    _LIBRARY.addHandler(handler)
    _LIBRARY.setLevel(logging.DEBUG)


def _of_a_library(name: str) -> Any:
    return structlog.wrap_logger(
        _LIBRARY.getChild(name),
        processors=[structlog.stdlib.filter_by_level, structlog.processors.format_exc_info, _one_line],
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _one_line(_: Any, __: str, event: EventDict) -> str:
    """The event and its values, escaped as Python writes them; a traceback follows, indented."""
    exception = str(event.pop("exception", ""))
    words = [str(event.pop("event", ""))]
    words += [f"{key}={value!r:.{_LONGEST_VALUE}}" for key, value in event.items()]
    line = " ".join(words)
    return "\n".join([line, *map(_indented, exception.split("\n"))]) if exception else line


def _timestamp(_: Any, __: str, event: EventDict) -> EventDict:
    """Local time with its offset, so that the hour that the change of the clock repeats is told apart."""
    event["timestamp"] = datetime.now().astimezone().isoformat(timespec="milliseconds")
    return event


def _lost_on_console(count: int) -> str:
    return f"[warning  ] log lines were lost, nobody took them  count={count}"


def _lost_in_json(count: int) -> str:
    return json.dumps({"event": "log lines were lost, nobody took them", "count": count, "level": "warning"})


def _printable(_: Any, __: str, event: EventDict) -> EventDict:
    """Keep every value on its line: the console has no quoting of its own for control characters."""
    for key, value in event.items():
        if key == "exception":
            event[key] = "\n".join(map(_indented, str(value).split("\n")))
        elif isinstance(value, str) and not value.isprintable():
            event[key] = ascii(value[:_LONGEST_VALUE])
    return event


def _indented(line: str) -> str:
    # A traceback quotes the text of its error: no line of it may look like one of the log's own.
    return "    " + (line if line.isprintable() else ascii(line)[1:-1])


def default_stream() -> TextIO:
    """Where logs go: standard error, or nowhere when the process was started without one."""
    return sys.stderr if sys.stderr is not None else open("/dev/null", "w")  # noqa: PTH123
