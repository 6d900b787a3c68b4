"""Whether others use this machine meanwhile, which does not slow all servers alike.

Where cores are idle, each message costs two wake-ups, and those cost more than a small message's work; where
another program keeps a core awake, the lighter server gains several times its rate. So a run waits for
quiet, and one that was disturbed is repeated, both as long as patience lasts.
"""

import os
import resource
import time
from dataclasses import dataclass, field
from pathlib import Path

BUSY = 0.15  # of one core
SLACK = 0.05  # seconds that the kernel's clock ticks may be wrong by
SAMPLE = 0.25
PATIENCE = 300.0
ATTEMPTS = 3


@dataclass
class Watch:
    """Runs a measurement in a quiet moment, and counts those that were disturbed all the same."""

    patience: float  # seconds, over all
    runs: int = 0
    disturbed: int = 0
    _spent: float = field(default=0.0)

    def run(self, measure):
        for attempt in range(1, ATTEMPTS + 1):
            self._wait()
            usage = _Usage()
            result = measure()
            others = usage.others_busy()
            if not others or attempt == ATTEMPTS or self._spent >= self.patience:
                break
            self._spent += usage.elapsed()
        self.runs += 1
        self.disturbed += others
        return result

    def note(self):
        share = f"{self.disturbed} of {self.runs} runs were disturbed by other programs"
        return f"{share} (more than {BUSY:.0%} of a core)" if self.disturbed else ""

    def _wait(self):
        while self._spent < self.patience:
            usage = _Usage()
            time.sleep(SAMPLE)
            if usage.others() < BUSY * SAMPLE:
                return
            self._spent += usage.elapsed()


class _Usage:
    """Processor time used since this was made: all of it, less this process's and its ended children's."""

    def __init__(self):
        self._begin = time.monotonic()
        self._machine, self._own = _machine(), _own()

    def elapsed(self):
        return time.monotonic() - self._begin

    def others(self):
        return _machine() - self._machine - (_own() - self._own)

    def others_busy(self):
        return self.others() > BUSY * self.elapsed() + SLACK


def _machine():
    """Seconds in user, nice and system mode and in interrupts, over all cores."""
    _, user, nice, system, _idle, _iowait, irq, softirq = Path("/proc/stat").read_text().split()[:8]
    return sum(map(int, (user, nice, system, irq, softirq))) / os.sysconf("SC_CLK_TCK")


def _own():
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
