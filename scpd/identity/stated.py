"""What an issuer of tokens or assertions may state of a user: names, and not too many.

Knows neither tokens nor assertions, nor what the names mean.
"""

from __future__ import annotations

import unicodedata

MOST_ROLES = 512
_LONGEST_NAME = 256
_UNFIT = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))


def is_name(text: str) -> bool:
    """Text that a log and a list can hold: no control, format or unassigned characters, no half of a character."""
    if not 0 < len(text) <= _LONGEST_NAME or text.isspace():
        return False
    return text.isprintable() or not any(unicodedata.category(one) in _UNFIT for one in text)
