"""The process as such, before there is anything to serve: descriptors, umask, limits, signals that have to wait.

Knows no configuration.
"""

from __future__ import annotations

import os
import resource
import signal
import threading
import warnings
from contextlib import suppress

from scpd.daemon.signals import Signals

# Files 0640 and directories 0750, whatever the umask was.
_UMASK = 0o027
# Virtual memory of a worker; what it does not touch costs nothing, and 1,000 of them still fit anywhere.
_STACK = 512 * 1024


def prepare() -> Signals:
    """What the process needs of the system before it does anything.

    SIGHUP and SIGUSR1 wait from now on until they are asked for: they would end a process that is not yet as far as to
    obey them.
    """
    _occupy_standard_descriptors()
    os.umask(_UMASK)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard) if hard != resource.RLIM_INFINITY else (soft, hard))
    threading.stack_size(_STACK)
    # A library's warning about one peer's data set is not for a server's standard error.
    warnings.simplefilter("ignore")
    return Signals((signal.SIGHUP, signal.SIGUSR1))


def _occupy_standard_descriptors() -> None:
    """Where the process was started with one of them closed: else a socket would get its number, and stray output."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
