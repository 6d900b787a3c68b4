"""structlog, set up once: JSON or a console, every value escaped, so that no peer can forge a line."""

from __future__ import annotations

import json
import logging
import sys
from typing import TYPE_CHECKING, Any, TextIO

import structlog

from scpd.telemetry.sink import Sink

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import EventDict, FilteringBoundLogger

    Processor = Callable[[Any, str, EventDict], Any]

_LONGEST_VALUE = 500


def configure(level: str, form: str, stream: TextIO) -> Sink:
    """Send logs of ``level`` and above to ``stream``; ``form`` is auto, console or json. Returns what to flush."""
    console = form == "console" or (form == "auto" and stream.isatty())
    sink = Sink(stream, _lost_on_console if console else _lost_in_json)
    processors: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=False),
        structlog.processors.format_exc_info,
    ]
    if console:
        processors += [_printable, structlog.dev.ConsoleRenderer(colors=stream.isatty(), pad_event_to=0)]
    else:
        processors.append(structlog.processors.JSONRenderer(ensure_ascii=True))
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=lambda *_: sink,
        cache_logger_on_first_use=True,
    )
    return sink


def logger(name: str) -> FilteringBoundLogger:
    """The logger of one part of scpd, named in each of its lines."""
    bound: FilteringBoundLogger = structlog.get_logger(part=name)
    return bound


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
