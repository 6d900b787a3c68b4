"""What /proc says of a server and of every process it started: memory and processor time."""

import os
from pathlib import Path

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")


def family(pid):
    """`pid` and its descendants, of those that are alive."""
    parents = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            parents[int(entry.name)] = int(fields[1])
    found = [pid]
    for known in found:  # grows while it is walked
        found += [child for child, parent in parents.items() if parent == known]
    return found


def resident(pid):
    """Resident memory in bytes, now."""
    return sum(_status(one, "VmRSS:") for one in family(pid))


def peak(pid):
    """Most resident memory in bytes since the start or `reset_peak`."""
    return sum(_status(one, "VmHWM:") for one in family(pid))


def reset_peak(pid):
    """Make the peak begin again from what is resident now; without the right to, it goes on."""
    for one in family(pid):
        try:
            (PROC / str(one) / "clear_refs").write_text("5")
        except OSError:
            continue


def cpu_seconds(pid):
    """User and system time in seconds."""
    stats = [fields for one in family(pid) if (fields := _stat(one))]
    return sum(int(fields[11]) + int(fields[12]) for fields in stats) / TICKS


def _stat(pid):
    """The fields of /proc/PID/stat from the state on, or None when the process has gone."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _status(pid, key):
    try:
        lines = (PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(key)), 0)
