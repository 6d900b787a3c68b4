"""What processes of a crew are given to do; here, where each of them can import it."""

from __future__ import annotations

import os

from scpd.errors import UnreadableDataSet


def end(_):
    """Die, as one that is killed."""
    os._exit(9)


def fail(_):
    """Raise something."""
    raise UnreadableDataSet("as it should")
