"""What the index has found → the identifier of a response (PS3.4 C.4.1.1.3.2), in any uncompressed transfer syntax.

An attribute that is kept and has no value stands there empty; one that is not kept does not stand there (C.2.2.1.3).
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from scpd.index.attributes import SPECIFIC_CHARACTER_SET
from scpd.services.query.charsets import UTF_8, CharacterSet
from scpd.services.query.elements import Form, Plan
from scpd.services.query.models import INSTANCE_AVAILABILITY, QUERY_RETRIEVE_LEVEL, RETRIEVE_AE_TITLE

if TYPE_CHECKING:
    from scpd.index.attributes import Attributes
    from scpd.services.query.identifier import Asked

_DEFLATED = "1.2.840.10008.1.2.1.99"


class _Ascii(CharacterSet):
    """The default repertoire: nearly all there is, and the fastest."""

    def encode(self, text: str, *, is_name: bool = False) -> bytes:  # noqa: ARG002 nothing to switch between
        return text.encode("ascii")


class _Unicode(CharacterSet):
    """The last resort; only what is no character at all becomes a question mark."""

    def encode(self, text: str, *, is_name: bool = False) -> bytes:  # noqa: ARG002 as above
        return text.encode("utf-8", "replace")


_ASCII, _UNICODE = _Ascii(()), _Unicode((UTF_8,))


class Answers:
    """Encodes the answers to one request; ``retrieve_ae_title`` is where what is found can be had from."""

    def __init__(self, asked: Asked, transfer_syntax: str, retrieve_ae_title: str) -> None:
        form = Form(transfer_syntax)
        fixed = (
            (QUERY_RETRIEVE_LEVEL, "CS", asked.query.level.name),
            (RETRIEVE_AE_TITLE, "AE", retrieve_ae_title),
            (INSTANCE_AVAILABILITY, "CS", "ONLINE"),
        )
        self._form = form
        self._is_deflated = transfer_syntax == _DEFLATED
        self._beyond_ascii = (CharacterSet(asked.character_set), _UNICODE) if asked.character_set else (_UNICODE,)
        self._plan = Plan(
            form,
            asked.wanted,
            asked.query.conditions,
            {tag: form.element(tag, vr, text.encode("ascii")) for tag, vr, text in fixed},
        )

    def encode(self, found: Attributes) -> bytes:
        """The identifier for one match, in the request's character set, or in UTF-8 where that cannot hold it."""
        try:
            data = self._plan.encode(found, _ASCII)
        except UnicodeError:
            data = self._in_other_sets(found)
        return _deflated(data) if self._is_deflated else data

    def _in_other_sets(self, found: Attributes) -> bytes:
        *others, last = self._beyond_ascii
        for character_set in others:
            try:
                return self._headed(character_set, self._plan.encode(found, character_set))
            except UnicodeError:
                continue
        return self._headed(last, self._plan.encode(found, last))

    def _headed(self, character_set: CharacterSet, data: bytes) -> bytes:
        """With Specific Character Set in front: no attribute that is kept comes before it."""
        return self._form.element(SPECIFIC_CHARACTER_SET, "CS", character_set.value.encode("ascii")) + data


def _deflated(data: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    data = deflate.compress(data) + deflate.flush()
    return data + b"\0" * (len(data) & 1)
