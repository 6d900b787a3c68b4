"""The names that peers and people give things: one parse function each, and the one way to quote them.

Text from a peer is hostile until it went through here. This module knows no wire, no file and no configuration.
"""

from __future__ import annotations

import re

UID_LENGTH = 64
AE_TITLE_LENGTH = 16

# PS3.5 9.1: components of digits without a leading zero, joined by dots.
_UID = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*", re.ASCII)
# PS3.5 table 6.2-1, AE: the default repertoire (ISO 646 G0) without backslash and control characters.
_AE_CHARACTERS = re.compile(r"[ -\[\]-~]*", re.ASCII)


def is_uid(text: str) -> bool:
    """Whether ``text`` is a UID by PS3.5 section 9.1: at most 64 characters, no leading zeros."""
    return len(text) <= UID_LENGTH and _UID.fullmatch(text) is not None


def parse_uid(text: str) -> str:
    """A UID as it stands, or :class:`ValueError` with the rule that it breaks (PS3.5 9.1)."""
    if len(text) > UID_LENGTH:
        raise ValueError(f"a UID has at most {UID_LENGTH} characters, {quote(text)} has {len(text)}")
    if not _UID.fullmatch(text):
        raise ValueError(
            f"{quote(text)} is not a UID; write digits and dots, no component with a leading zero, "
            "as in 1.2.840.10008.1.1"
        )
    return text


def parse_ae_title(text: str) -> str:
    """An AE title without its insignificant spaces (PS3.5 table 6.2-1, AE).

    Raises :class:`ValueError` with the rule that is broken: 1 to 16 characters of ISO 646 G0, neither a
    backslash nor a control character, not spaces alone.
    """
    title = text.strip(" ")
    if not title:
        raise ValueError("an AE title needs at least one character that is not a space")
    if len(title) > AE_TITLE_LENGTH:
        raise ValueError(f"an AE title has at most {AE_TITLE_LENGTH} characters, {quote(title)} has {len(title)}")
    if not _AE_CHARACTERS.fullmatch(title):
        raise ValueError(
            f"{quote(title)} is not an AE title; write ASCII letters, digits and signs, "
            "without backslash and control characters"
        )
    return title


def quote(text: str, limit: int = UID_LENGTH) -> str:
    r"""Text of a peer for a log or an error: in quotes, control characters escaped, bounded in length.

    >>> quote("CT\nlevel=error")
    "'CT\\nlevel=error'"
    """
    shown = text if len(text) <= limit else text[:limit]
    return ascii(shown) + ("…" if len(text) > limit else "")
