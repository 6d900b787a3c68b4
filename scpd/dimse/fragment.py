"""Messages → P-DATA-TF (PS3.8 9.3.5, annexes D.1 and E.1): one fragment a PDU, none longer than the peer takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scpd.wire.pdu import HEADER, VALUE_HEADER, PDUType

if TYPE_CHECKING:
    from collections.abc import Iterator

# What is sent at once to a peer that sets no maximum.
_UNLIMITED = 1024 * 1024


def longest_fragment(maximum_length: int) -> int:
    """The most bytes of a message in one P-DATA-TF, even (annex E.1), for a peer's maximum length (0: unlimited)."""
    longest = (maximum_length or _UNLIMITED) - VALUE_HEADER.size & ~1
    if longest < 2:
        raise ValueError(f"a maximum length of {maximum_length} bytes leaves no room for a fragment")
    return min(longest, _UNLIMITED)


def header(context_id: int, length: int, *, is_command: bool, is_last: bool) -> bytes:
    """The twelve bytes before a fragment of ``length`` bytes: PDU header and value header."""
    control = is_command | is_last << 1
    return HEADER.pack(PDUType.P_DATA_TF, length + 6) + VALUE_HEADER.pack(length + 2, context_id, control)


def command(context_id: int, encoded: bytes, maximum_length: int) -> bytes:
    """A command set as the P-DATA-TF PDUs that carry it, in one piece to send."""
    longest = longest_fragment(maximum_length)
    if len(encoded) <= longest:
        return header(context_id, len(encoded), is_command=True, is_last=True) + encoded
    parts = (part for pair in _cut(context_id, memoryview(encoded), longest, is_command=True) for part in pair)
    return b"".join(parts)


def data_set(
    context_id: int, encoded: memoryview, maximum_length: int, *, is_last: bool = True
) -> Iterator[tuple[bytes, memoryview]]:
    """A data set, or an even piece of one, as pairs of header and fragment; the fragments are views of it."""
    return _cut(context_id, encoded, longest_fragment(maximum_length), is_command=False, is_last=is_last)


def _cut(
    context_id: int, encoded: memoryview, longest: int, *, is_command: bool, is_last: bool = True
) -> Iterator[tuple[bytes, memoryview]]:
    total = len(encoded)
    for start in range(0, max(total, 1), longest):
        part = encoded[start : start + longest]
        ends = is_last and start + longest >= total
        yield header(context_id, len(part), is_command=is_command, is_last=ends), part
